"""Triplet loss: the positive is closer than the negative by a margin, in squared distance.

Schroff, Kalenichenko, Philbin 2015, "FaceNet", equation 2, https://arxiv.org/abs/1503.03832.
"""

from typing import Any

from torch import Tensor

from vmf_embeddings.criteria.base import Criterion, at_least
from vmf_embeddings.criteria.comparisons import distances, entries, triplets_of_batch
from vmf_embeddings.criteria.sums import mean_of
from vmf_embeddings.miners.base import MaskedTriplets, Triplets


def triplet(
    embeddings: Tensor,
    triplets: Triplets | MaskedTriplets,
    margin: float,
    n_anchors: int | None = None,
) -> Tensor:
    """Mean over triplets of relu(|a - p|^2 - |a - n|^2 + m).

    Args:
        embeddings: [B, D].
        triplets: [T] each, or masked.
        margin: m.
        n_anchors: the first rows are the anchors; None = all.

    Returns:
        Scalar; 0 without triplets.

    Example:
        >>> import torch
        >>> x, i = torch.tensor([[0.0], [1.0], [0.5]]), torch.tensor
        >>> triplet(x, Triplets(i([0]), i([1]), i([2])), 0.2)
        tensor(0.9500)
    """
    squared = distances(embeddings, n_anchors).square()
    anchor, positive, negative = triplets[:3]
    to_positive, to_negative = (entries(squared, anchor, i) for i in (positive, negative))
    hinge = (to_positive - to_negative + margin).relu()
    return mean_of(hinge, triplets.valid)


class TripletCriterion(Criterion):
    """Triplet loss over the triplets of a miner, or over all triplets of the batch.

    Args:
        margin: m, a difference of squared distances, >= 0.
    """

    takes = "triplets"
    allowed_miners = None
    takes_masks = True
    takes_memory = True
    takes_all_triplets = True

    def __init__(self, margin: float) -> None:
        super().__init__()
        at_least(0, margin=margin)
        self.margin = margin

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: Triplets | MaskedTriplets | None = None,
        *,
        n_anchors: int | None = None,
        **context: Any,
    ) -> Tensor:
        """Unit embeddings [B, D], labels [B] -> scalar."""
        triplets = triplets or triplets_of_batch(labels, n_anchors)
        return triplet(embeddings, triplets, self.margin, n_anchors)
