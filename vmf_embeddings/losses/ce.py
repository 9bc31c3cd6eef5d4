"""Cross-entropy, without regard to class sizes."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from vmf_embeddings.losses.base import Loss


class CrossEntropy(Loss):
    """Mean negative log probability of the label."""

    def forward(self, logits: Tensor, labels: Tensor, *, features: Tensor | None = None) -> Tensor:
        """Logits [B, C], labels [B] or soft labels [B, C] -> scalar in nats."""
        return cross_entropy(logits, labels)
