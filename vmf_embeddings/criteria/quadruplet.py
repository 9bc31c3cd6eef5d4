"""Quadruplet loss: a triplet, and positives nearer than two strangers of two other classes.

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
    fourth: Tensor,
    there_is: Tensor,
    margins: tuple[float, float],
) -> Tensor:
    """Mean of [d_ap - d_an + m1] and mean of [d_ap - d_nf + m2], where positive.

    Args:
        matrix: distances [B, B].
        triplets: [T] each.
        fourth: rows [T] whose class is neither the anchor's nor the negative's.
        there_is: whether there is such a row [T].
        margins: m1 and m2.

    Returns:
        Scalar.

    Example:
        >>> x, i = torch.tensor([[0.0], [1.0], [0.5], [0.6]]), lambda k: torch.tensor([k])
        >>> yes = torch.tensor([True])
        >>> quadruplet(distances(x), Triplets(i(0), i(1), i(2)), i(3), yes, (0.2, 0.2))
        tensor(1.8000)
    """
    anchor, positive, negative = triplets
    near = matrix[anchor, positive]
    first = (near - matrix[anchor, negative] + margins[0]).relu()
    second = (near - matrix[negative, fourth] + margins[1]).relu() * there_is
    return first.sum() / max(1, len(first)) + second.sum() / there_is.sum().clamp_min(1)


class Quadruplet(Criterion):
    """Triplets of a miner, or all; the fourth row is drawn from the classes that are left.

    Args:
        margin_1: of the triplet, >= 0.
        margin_2: of the two strangers, >= 0.
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
        free = strangers(labels, triplets)
        matrix = distances(embeddings)
        return quadruplet(matrix, triplets, choose(free, None), free.any(1), self.margins)


def strangers(labels: Tensor, triplets: Triplets) -> Tensor:
    """Whether a row's class is neither that of a triplet's anchor nor that of its negative.

    Args:
        labels: [B].
        triplets: [T] each.

    Returns:
        Bool [T, B].

    Example:
        >>> i = lambda k: torch.tensor([k])
        >>> strangers(torch.tensor([0, 0, 1, 2]), Triplets(i(0), i(1), i(2))).tolist()
        [[False, False, False, True]]
    """
    taken = labels[torch.stack([triplets.anchor, triplets.negative])]
    return (taken[:, :, None] != labels).all(0)
