"""Pairs and triplets of a batch, pairwise distances, and one positive per anchor."""

import torch
from torch import Tensor

from vmf_embeddings.miners.base import Triplets, others
from vmf_embeddings.miners.draws import choose


def all_triplets(labels: Tensor) -> Triplets:
    """Every (anchor, positive, negative) of a batch; anchor and positive are different rows.

    Synchronises with the device and allocates [B, B, B] booleans: use a miner above some 200 rows.

    Args:
        labels: [B].

    Example:
        >>> [rows.tolist() for rows in all_triplets(torch.tensor([5, 5, 7]))]
        [[0, 1], [1, 0], [2, 2]]
    """
    same = labels[:, None] == labels
    return Triplets(*(others(same)[:, :, None] & ~same[:, None]).nonzero(as_tuple=True))


def positive_and_negative_pairs(labels: Tensor, triplets: Triplets | None) -> tuple[Tensor, Tensor]:
    """Pairs of the same class and pairs of different classes.

    Args:
        labels: [B].
        triplets: use only their (anchor, positive) and (anchor, negative) pairs; None = every
            ordered pair of the batch.

    Returns:
        Row indices (anchor, positive) [2, P] and (anchor, negative) [2, N].

    Example:
        >>> positive, negative = positive_and_negative_pairs(torch.tensor([5, 5, 7]), None)
        >>> positive.tolist(), negative.shape
        ([[0, 1], [1, 0]], torch.Size([2, 4]))
    """
    if triplets is not None:
        anchor, positive, negative = triplets
        return torch.stack([anchor, positive]), torch.stack([anchor, negative])
    same = labels[:, None] == labels
    return others(same).nonzero().T, (~same).nonzero().T


def distances(embeddings: Tensor) -> Tensor:
    """Euclidean distances [B, B] of rows [B, D], computed from differences of coordinates.

    Unlike |a|^2 + |b|^2 - 2 a.b, this is accurate for close rows, and the gradient of a distance
    of 0 is 0.

    Example:
        >>> distances(torch.tensor([[0.0, 3.0], [4.0, 0.0]]))
        tensor([[0., 5.],
                [5., 0.]])
    """
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cdist(embeddings, embeddings, compute_mode=mode)


def positive_rows(labels: Tensor, triplets: Triplets | None) -> tuple[Tensor, Tensor]:
    """One positive (another row of the same class) for every row: from triplets, or at random.

    Args:
        labels: [B].
        triplets: the last positive of each anchor is used; None = drawn uniformly with torch's
            global generator.

    Returns:
        Row index of the positive [B], and whether the row has one [B] (the index means nothing
        otherwise).

    Example:
        >>> rows, has_positive = positive_rows(torch.tensor([5, 5, 7]), None)
        >>> rows[:2].tolist(), has_positive.tolist()
        ([1, 0], [True, True, False])
    """
    if triplets is None:
        candidates = others(labels[:, None] == labels)
        return choose(candidates, None), candidates.any(1)
    rows = torch.arange(len(labels), device=labels.device)
    none = torch.zeros_like(labels, dtype=torch.bool)
    chosen = rows.index_put((triplets.anchor,), triplets.positive)
    return chosen, none.index_fill(0, triplets.anchor, True)
