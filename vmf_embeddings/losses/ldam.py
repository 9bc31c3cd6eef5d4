"""LDAM: cosine softmax with larger margins for smaller classes; deferred re-weighting (DRW).

Cao et al. 2019, "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
equations 13 and 14, https://arxiv.org/abs/1906.07413.
"""

import torch
from torch import Tensor

from vmf_embeddings.losses.base import Loss, soft_labels
from vmf_embeddings.losses.class_balanced import check_beta, check_epoch
from vmf_embeddings.losses.weights import effective_number_weights, weighted_cross_entropy


def ldam_margins(class_counts: Tensor, max_margin: float) -> Tensor:
    """Margins max_margin (n_min / n)^(1/4), largest for the smallest class.

    Args:
        class_counts: images per class [C], >= 1.
        max_margin: a difference of cosines.

    Returns:
        [C] in float64.

    Example:
        >>> ldam_margins(torch.tensor([16, 1]), 0.5)
        tensor([0.2500, 0.5000], dtype=torch.float64)
    """
    return max_margin * (class_counts.min() / class_counts.double()) ** 0.25


def ldam_loss(
    logits: Tensor, labels: Tensor, margins: Tensor, scale: float, weights: Tensor
) -> Tensor:
    """Sum of w_y CE(s (z - m_y)) / sum of w_y; the margin is subtracted from the target's logit.

    With soft labels, the margin of each class is multiplied by its label.

    Args:
        logits: s z [B, C], cosines z with their scale applied.
        labels: [B] in 0..C-1, or soft labels [B, C].
        margins: m of the classes [C].
        scale: s > 0.
        weights: of the classes [C].

    Returns:
        Scalar in nats.

    Example:
        >>> z, y = torch.tensor([[0.5, 0.5]]), torch.tensor([0])
        >>> ldam_loss(2 * z, y, torch.tensor([0.5, 0.1]), 2.0, torch.ones(2))  # log(1 + e)
        tensor(1.3133)
    """
    target = soft_labels(labels, logits.shape[1], logits.dtype)
    with_margins = logits - scale * margins.to(logits.dtype) * target
    return weighted_cross_entropy(with_margins, labels, weights)


class LDAM(Loss):
    """Class-dependent margins in training, and class-balanced weights from `drw_epoch` on.

    Args:
        max_margin: of the smallest class, a difference of cosines, in [0, 2).
        scale: s > 0, which the head is given as its scale.
        drw_epoch: first epoch with class-balanced weights, counted from 0; None = never.
        beta: of the effective number in these weights, in [0, 1).
    """

    needs_class_counts = True
    is_row_mean = False
    requires_cosine_head = True

    def __init__(self, max_margin: float, scale: float, drw_epoch: int | None, beta: float) -> None:
        super().__init__()
        if not 0 <= max_margin < 2:
            raise ValueError(
                f"loss.params.max_margin is a difference of cosines in [0, 2), got {max_margin}."
            )
        if not scale > 0:
            raise ValueError(f"loss.params.scale must be > 0, got {scale}.")
        check_epoch("drw_epoch", drw_epoch)
        check_beta(beta)
        self.max_margin, self.scale = max_margin, scale
        self.drw_epoch, self.beta = drw_epoch, beta

    @property
    def class_weights(self) -> Tensor:
        """Weights of the classes in the current epoch, [C]."""
        counts = self.counts
        if self.drw_epoch is None or self.epoch < self.drw_epoch:
            return torch.ones_like(counts, dtype=torch.float64)
        return effective_number_weights(counts, self.beta)

    def forward(self, logits: Tensor, labels: Tensor, *, features: Tensor | None = None) -> Tensor:
        """Scaled logits [B, C], labels [B] or soft labels [B, C] -> scalar in nats."""
        margins = ldam_margins(self.counts, self.max_margin)
        return ldam_loss(logits, labels, margins, self.scale, self.class_weights)
