"""Quadruplet loss: the triplet loss, and positives closer than two negatives of different classes.

Chen, Chen, Zhang, Huang 2017, "Beyond Triplet Loss: A Deep Quadruplet Network", equation 5,
https://arxiv.org/abs/1704.01719.
"""

from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.criteria.base import Criterion, at_least
from vmf_embeddings.criteria.comparisons import all_triplets, distances
from vmf_embeddings.miners.base import Triplets
from vmf_embeddings.miners.draws import choose


def quadruplet(
    matrix: Tensor,
    triplets: Triplets,
    second_negative: Tensor,
    has_second: Tensor,
    margins: tuple[float, float],
) -> Tensor:
    """Mean relu(d_ap - d_an + m1) + mean relu(d_ap - d_nk + m2), k a second negative.

    Args:
        matrix: distances [B, B].
        triplets: [T] each.
        second_negative: rows k [T], neither of the anchor's class nor of the negative's.
        has_second: whether the triplet has such a row [T]; otherwise its second term is 0.
        margins: m1 and m2.

    Returns:
        Scalar.

    Example:
        >>> x, i = torch.tensor([[0.0], [1.0], [0.5], [0.6]]), lambda k: torch.tensor([k])
        >>> has = torch.tensor([True])
        >>> quadruplet(distances(x), Triplets(i(0), i(1), i(2)), i(3), has, (0.2, 0.2))
        tensor(1.8000)
    """
    anchor, positive, negative = triplets
    d_ap = matrix[anchor, positive]
    first = (d_ap - matrix[anchor, negative] + margins[0]).relu()
    second = (d_ap - matrix[negative, second_negative] + margins[1]).relu() * has_second
    return first.sum() / max(1, len(first)) + second.sum() / has_second.sum().clamp_min(1)


class Quadruplet(Criterion):
    """Over the triplets of a miner, or all of the batch; the second negative is drawn at random.

    Args:
        margin_1: m1, of the triplet term, >= 0.
        margin_2: m2, of the term with both negatives, >= 0.
    """

    takes = "triplets"
    allowed_miners = None

    def __init__(self, margin_1: float, margin_2: float) -> None:
        super().__init__()
        at_least(0, margin_1=margin_1, margin_2=margin_2)
        self.margins = (margin_1, margin_2)

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: Triplets | None = None,
        **context: Any,
    ) -> Tensor:
        """Unit embeddings [B, D], labels [B] -> scalar."""
        triplets = triplets or all_triplets(labels)
        candidates = second_negatives(labels, triplets)
        chosen, has_second = choose(candidates, None), candidates.any(1)
        return quadruplet(distances(embeddings), triplets, chosen, has_second, self.margins)


def second_negatives(labels: Tensor, triplets: Triplets) -> Tensor:
    """Which rows are neither of the class of a triplet's anchor nor of that of its negative.

    Args:
        labels: [B].
        triplets: [T] each.

    Returns:
        Bool [T, B].

    Example:
        >>> i = lambda k: torch.tensor([k])
        >>> second_negatives(torch.tensor([0, 0, 1, 2]), Triplets(i(0), i(1), i(2))).tolist()
        [[False, False, False, True]]
    """
    excluded = labels[torch.stack([triplets.anchor, triplets.negative])]
    return (excluded[:, :, None] != labels).all(0)
