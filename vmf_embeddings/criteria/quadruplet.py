"""Quadruplet loss: the triplet loss, and positives closer than two negatives of different classes.

Chen, Chen, Zhang, Huang 2017, "Beyond Triplet Loss: A Deep Quadruplet Network", equation 5,
https://arxiv.org/abs/1704.01719.
"""

from typing import Any

from torch import Tensor

from vmf_embeddings.criteria.base import Criterion, at_least
from vmf_embeddings.criteria.comparisons import distances, entries, triplets_of_batch
from vmf_embeddings.criteria.sums import mean_of
from vmf_embeddings.miners.base import MaskedTriplets, Triplets
from vmf_embeddings.miners.draws import choose


def quadruplet(
    matrix: Tensor,
    triplets: Triplets | MaskedTriplets,
    second_negative: Tensor,
    has_second: Tensor,
    margins: tuple[float, float],
) -> Tensor:
    """Mean relu(d_ap - d_an + m1) + mean relu(d_ap - d_nk + m2), k a second negative.

    Args:
        matrix: distances [B, B].
        triplets: [T] each, or masked.
        second_negative: rows k [T], neither of the anchor's class nor of the negative's. With
            masked triplets, it and the next broadcast to their shape.
        has_second: whether the triplet has such a row [T]; otherwise its second term is 0.
        margins: m1 and m2.

    Returns:
        Scalar.

    Example:
        >>> import torch
        >>> x, i = torch.tensor([[0.0], [1.0], [0.5], [0.6]]), lambda k: torch.tensor([k])
        >>> has = torch.tensor([True])
        >>> quadruplet(distances(x), Triplets(i(0), i(1), i(2)), i(3), has, (0.2, 0.2))
        tensor(1.8000)
    """
    anchor, positive, negative = triplets[:3]
    d_ap = entries(matrix, anchor, positive)
    first = (d_ap - entries(matrix, anchor, negative) + margins[0]).relu()
    second = (d_ap - matrix[negative, second_negative] + margins[1]).relu()
    if triplets.valid is not None:
        has_second = has_second & triplets.valid
    return mean_of(first, triplets.valid) + mean_of(second, has_second)


class Quadruplet(Criterion):
    """Over the triplets of a miner, or all of the batch; the second negative is drawn at random.

    One is drawn for each triplet; without a miner, on a GPU, for each anchor and negative.

    Args:
        margin_1: m1, of the triplet term, >= 0.
        margin_2: m2, of the term with both negatives, >= 0.
    """

    takes = "triplets"
    allowed_miners = None
    takes_masks = True
    takes_all_triplets = True

    def __init__(self, margin_1: float, margin_2: float) -> None:
        super().__init__()
        at_least(0, margin_1=margin_1, margin_2=margin_2)
        self.margins = (margin_1, margin_2)

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: Triplets | MaskedTriplets | None = None,
        **context: Any,
    ) -> Tensor:
        """Unit embeddings [B, D], labels [B] -> scalar."""
        triplets = triplets or triplets_of_batch(labels)
        candidates = second_negatives(labels, triplets)
        chosen, has_second = choose(candidates, None), candidates.any(-1)
        return quadruplet(distances(embeddings), triplets, chosen, has_second, self.margins)


def second_negatives(labels: Tensor, triplets: Triplets | MaskedTriplets) -> Tensor:
    """Which rows are neither of the class of a triplet's anchor nor of that of its negative.

    Args:
        labels: [B].
        triplets: [T] each, or masked.

    Returns:
        Bool [T, B]; of `masked_triplets` [B, 1, B, B], the same rows for every positive.

    Example:
        >>> import torch
        >>> i = lambda k: torch.tensor([k])
        >>> second_negatives(torch.tensor([0, 0, 1, 2]), Triplets(i(0), i(1), i(2))).tolist()
        [[False, False, False, True]]
    """
    other_than = [
        labels[rows][..., None] != labels for rows in (triplets.anchor, triplets.negative)
    ]
    return other_than[0] & other_than[1]
