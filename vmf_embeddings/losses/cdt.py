"""Class-dependent temperatures: logits of rare classes are divided by more in training.

Ye et al. 2020, "Identifying and Compensating for Feature Deviation in Imbalanced Deep Learning",
equation 4, https://arxiv.org/abs/2001.01385.
"""

from torch import Tensor
from torch.nn.functional import cross_entropy

from vmf_embeddings.losses.base import Loss


def class_temperatures(class_counts: Tensor, gamma: float) -> Tensor:
    """(n_max / n)^gamma: 1 for the largest class, larger for smaller classes.

    Args:
        class_counts: images per class [C], >= 1.
        gamma: exponent, >= 0; 0 = 1 for every class.

    Returns:
        [C] in float64, >= 1.

    Example:
        >>> import torch
        >>> class_temperatures(torch.tensor([4, 1]), 0.5)
        tensor([1., 2.], dtype=torch.float64)
    """
    return (class_counts.max() / class_counts.double()) ** gamma


class CDT(Loss):
    """Cross-entropy of logits / class temperatures, in training only.

    Args:
        gamma: exponent of the temperatures, >= 0.
    """

    needs_class_counts = True

    def __init__(self, gamma: float) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"loss.params.gamma must be >= 0, got {gamma}.")
        self.gamma = gamma

    def forward(self, logits: Tensor, labels: Tensor, *, features: Tensor | None = None) -> Tensor:
        """Logits [B, C], labels [B] or soft labels [B, C] -> scalar in nats."""
        temperatures = class_temperatures(self.counts, self.gamma).to(logits.dtype)
        return cross_entropy(logits / temperatures, labels)
