"""What is compared with what: all pairs and triplets of a batch, distances, partners of anchors."""

import torch
from torch import Tensor

from vmf_embeddings.miners.base import Triplets, others
from vmf_embeddings.miners.draws import choose


def all_triplets(labels: Tensor) -> Triplets:
    """Every (anchor, positive, negative) of a batch, anchor and positive different rows.

    Waits for the device, and holds [B, B, B] flags: a miner is faster above some 200 rows.

    Args:
        labels: [B].

    Example:
        >>> [rows.tolist() for rows in all_triplets(torch.tensor([5, 5, 7]))]
        [[0, 1], [1, 0], [2, 2]]
    """
    same = labels[:, None] == labels
    return Triplets(*(others(same)[:, :, None] & ~same[:, None]).nonzero(as_tuple=True))


def compared_pairs(labels: Tensor, triplets: Triplets | None) -> tuple[Tensor, Tensor]:
    """Pairs to be pulled together and pairs to be pushed apart.

    Args:
        labels: [B].
        triplets: whose pairs they are; None = all pairs of the batch, in both orders.

    Returns:
        Rows (anchor, positive) [2, P] and (anchor, negative) [2, N].

    Example:
        >>> positive, negative = compared_pairs(torch.tensor([5, 5, 7]), None)
        >>> positive.tolist(), negative.shape
        ([[0, 1], [1, 0]], torch.Size([2, 4]))
    """
    if triplets is not None:
        anchor, positive, negative = triplets
        return torch.stack([anchor, positive]), torch.stack([anchor, negative])
    same = labels[:, None] == labels
    return others(same).nonzero().T, (~same).nonzero().T


def distances(embeddings: Tensor) -> Tensor:
    """Euclidean distances [B, B] of rows [B, D], not by way of inner products.

    Those of close rows are exact, and the gradient of a distance of 0 is 0.

    Example:
        >>> distances(torch.tensor([[0.0, 3.0], [4.0, 0.0]]))
        tensor([[0., 5.],
                [5., 0.]])
    """
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cdist(embeddings, embeddings, compute_mode=mode)


def partners(labels: Tensor, triplets: Triplets | None) -> tuple[Tensor, Tensor]:
    """One row of the own class for every row: of the triplets, or drawn.

    Args:
        labels: [B].
        triplets: the last positive of each anchor counts; None = drawn by torch's own generator.

    Returns:
        Rows [B], and whether there is one [B].

    Example:
        >>> rows, there_is = partners(torch.tensor([5, 5, 7]), None)
        >>> rows[:2].tolist(), there_is.tolist()
        ([1, 0], [True, True, False])
    """
    if triplets is None:
        candidates = others(labels[:, None] == labels)
        return choose(candidates, None), candidates.any(1)
    rows = torch.arange(len(labels), device=labels.device)
    has = torch.zeros_like(labels, dtype=torch.bool)
    return rows.index_put((triplets.anchor,), triplets.positive), has.index_fill(
        0, triplets.anchor, True
    )
