"""LDAM: cosine softmax with margins that grow as classes shrink; deferred re-weighting (DRW).

Cao et al. 2019, "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
equations 13 and 14, https://arxiv.org/abs/1906.07413.
"""

import torch
from torch import Tensor

from vmf_embeddings.losses.base import Loss, shares
from vmf_embeddings.losses.class_balanced import check_beta, check_epoch
from vmf_embeddings.losses.weights import effective_number_weights, weighted_cross_entropy


def ldam_margins(class_counts: Tensor, max_margin: float) -> Tensor:
    """Margins in proportion to n^(-1/4); the smallest class has `max_margin`.

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
    """Cross-entropy of s (z - m_y at the label), weighted by class, over the sum of weights.

    A mixed label takes of every class's margin as much as its share.

    Args:
        logits: s z [B, C], cosines z with their scale applied.
        labels: [B] in 0..C-1, or shares [B, C].
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
    target = shares(labels, logits.shape[1], logits.dtype)
    lowered = logits - scale * margins.to(logits.dtype) * target
    return weighted_cross_entropy(lowered, labels, weights)


class LDAM(Loss):
    """Margins by class size in training; with `drw_epoch`, class-balanced weights from then on.

    Args:
        max_margin: of the smallest class, a difference of cosines, in [0, 2).
        scale: s of the logits > 0; the head takes it.
        drw_epoch: epoch, from 0, from which on the weights act; None = never.
        beta: of the weights' effective number, in [0, 1).
    """

    needs_class_counts = True
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
        """Weights [C] of the present epoch."""
        counts = self.counts
        if self.drw_epoch is None or self.epoch < self.drw_epoch:
            return torch.ones_like(counts, dtype=torch.float64)
        return effective_number_weights(counts, self.beta)

    def forward(self, logits: Tensor, labels: Tensor, *, features: Tensor | None = None) -> Tensor:
        """Scaled logits [B, C], labels [B] or shares [B, C] -> scalar in nats."""
        margins = ldam_margins(self.counts, self.max_margin)
        return ldam_loss(logits, labels, margins, self.scale, self.class_weights)
