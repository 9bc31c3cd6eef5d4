"""Logit adjustment: cross-entropy of logits plus tau times the log class frequencies.

Menon et al. 2021, "Long-Tail Learning via Logit Adjustment", equation 10,
https://arxiv.org/abs/2007.07314. The post-hoc form is `method.params.posthoc_tau`.
"""

from torch import Tensor
from torch.nn.functional import cross_entropy

from vmf_embeddings.losses.base import Loss


def log_frequencies(class_counts: Tensor) -> Tensor:
    """Log frequency of every class among the training images.

    Args:
        class_counts: images per class [C], >= 1.

    Returns:
        [C] in float64, <= 0.

    Example:
        >>> import torch
        >>> log_frequencies(torch.tensor([3, 1])).exp()
        tensor([0.7500, 0.2500], dtype=torch.float64)
    """
    return (class_counts.double() / class_counts.sum()).log()


def logit_adjustment_loss(
    logits: Tensor, labels: Tensor, class_counts: Tensor, tau: float
) -> Tensor:
    """Cross-entropy of z + tau log pi.

    Args:
        logits: [B, C].
        labels: [B] in 0..C-1, or soft labels [B, C].
        class_counts: images per class [C], >= 1.
        tau: 0 = plain cross-entropy, 1 = balanced softmax.

    Returns:
        Mean in nats, scalar.

    Example:
        >>> import torch
        >>> z, y, n = torch.zeros(1, 2), torch.tensor([1]), torch.tensor([3, 1])
        >>> logit_adjustment_loss(z, y, n, tau=1.0)
        tensor(1.3863)
    """
    return cross_entropy(logits + tau * log_frequencies(class_counts).to(logits.dtype), labels)


class LogitAdjustment(Loss):
    """Cross-entropy of z + tau log pi, in training only.

    Args:
        tau: factor of the log frequencies, >= 0.
    """

    needs_class_counts = True
    uses_prior = True

    def __init__(self, tau: float) -> None:
        super().__init__()
        if not tau >= 0:
            raise ValueError(f"loss.params.tau must be >= 0, got {tau}.")
        self.tau = tau

    def forward(self, logits: Tensor, labels: Tensor, *, features: Tensor | None = None) -> Tensor:
        """Logits [B, C], labels [B] or soft labels [B, C] -> scalar in nats."""
        return logit_adjustment_loss(logits, labels, self.counts, self.tau)
