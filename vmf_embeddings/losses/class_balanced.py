"""Class-balanced loss: cross-entropy or focal loss, weighted by effective numbers.

Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples",
https://arxiv.org/abs/1901.05555.
"""

from torch import Tensor
from torch.nn.functional import log_softmax

from vmf_embeddings.losses.base import Loss
from vmf_embeddings.losses.focal import focal_loss, focal_of
from vmf_embeddings.losses.weights import (
    effective_number_weights,
    weighted_cross_entropy,
    weighted_mean,
)


def class_balanced_loss(
    logits: Tensor, labels: Tensor, class_counts: Tensor, beta: float, gamma: float
) -> Tensor:
    """Sum of w_y loss / sum of w_y, with the focal loss or (gamma = 0) cross-entropy.

    The weight multiplies the loss; p in the focal factor is not changed.

    Args:
        logits: [B, C].
        labels: [B] in 0..C-1, or soft labels [B, C].
        class_counts: images per class [C], >= 1.
        beta: of the effective number, in [0, 1).
        gamma: focal exponent, >= 0.

    Returns:
        Scalar in nats.

    Example:
        >>> import torch
        >>> z, y = torch.zeros(1, 2), torch.tensor([0])
        >>> class_balanced_loss(z, y, torch.tensor([5, 1]), beta=0.9, gamma=0.0)  # log 2
        tensor(0.6931)
    """
    weights = effective_number_weights(class_counts, beta).to(logits.dtype)
    if gamma == 0:
        return weighted_cross_entropy(logits, labels, weights)
    return weighted_mean(focal_of(-log_softmax(logits, -1), gamma), labels, weights)


class ClassBalanced(Loss):
    """Class-weighted cross-entropy or focal loss, optionally weighted only from a later epoch on.

    Args:
        beta: of the effective number, in [0, 1).
        gamma: focal exponent, >= 0; 0 = cross-entropy.
        start_epoch: first epoch with weights, counted from 0 ("deferred re-weighting").
    """

    needs_class_counts = True
    is_row_mean = False

    def __init__(self, beta: float, gamma: float, start_epoch: int) -> None:
        super().__init__()
        check_beta(beta)
        if not gamma >= 0:
            raise ValueError(f"loss.params.gamma must be >= 0, got {gamma}.")
        check_epoch("start_epoch", start_epoch)
        self.beta, self.gamma, self.start_epoch = beta, gamma, start_epoch

    def forward(self, logits: Tensor, labels: Tensor, *, features: Tensor | None = None) -> Tensor:
        """Logits [B, C], labels [B] or soft labels [B, C] -> scalar in nats."""
        counts = self.counts
        if self.epoch < self.start_epoch:
            return focal_loss(logits, labels, self.gamma)
        return class_balanced_loss(logits, labels, counts, self.beta, self.gamma)


def check_beta(beta: float) -> None:
    """Refuses a beta of the effective number outside [0, 1)."""
    if not 0 <= beta < 1:
        raise ValueError(f"loss.params.beta must be in [0, 1), such as 0.9999, got {beta}.")


def check_epoch(name: str, epoch: int | None) -> None:
    """Refuses an epoch below 0; None = never."""
    if epoch is not None and epoch < 0:
        raise ValueError(f"loss.params.{name} counts epochs from 0, got {epoch}.")
