"""Cost-sensitive cross-entropy: weights by a power of the inverse class size.

Zhang et al. 2021, "Bag of Tricks for Long-Tailed Visual Recognition with Deep Convolutional Neural
Networks", https://ojs.aaai.org/index.php/AAAI/article/view/16458.
"""

from torch import Tensor

from vmf_embeddings.losses.base import Loss
from vmf_embeddings.losses.weights import power_weights, weighted_cross_entropy


class CostSensitive(Loss):
    """Sum of w_y CE / sum of w_y with w_y = (n_min / n_y)^gamma.

    Args:
        gamma: exponent, >= 0.
    """

    needs_class_counts = True
    is_row_mean = False

    def __init__(self, gamma: float) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"loss.params.gamma must be >= 0, got {gamma}.")
        self.gamma = gamma

    def forward(self, logits: Tensor, labels: Tensor, *, features: Tensor | None = None) -> Tensor:
        """Logits [B, C], labels [B] or soft labels [B, C] -> scalar in nats."""
        return weighted_cross_entropy(logits, labels, power_weights(self.counts, self.gamma))
