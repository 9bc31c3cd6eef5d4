"""Pairs and triplets of a batch, pairwise distances, and one positive per anchor."""

from typing import NamedTuple

import torch
from torch import Tensor

from vmf_embeddings.miners.base import MaskedTriplets, Triplets, others
from vmf_embeddings.miners.draws import choose

MOST_MASKED = 2**24
"""Triplets, or places for them, above which the host waits for the device: 64 MB in float32."""


def all_triplets(labels: Tensor) -> Triplets:
    """Every (anchor, positive, negative) of a batch; anchor and positive are different rows.

    Synchronises with the device and allocates [B, B, B] booleans: use a miner above some 200 rows.

    Args:
        labels: [B].

    Example:
        >>> [rows.tolist() for rows in all_triplets(torch.tensor([5, 5, 7]))]
        [[0, 1], [1, 0], [2, 2]]
    """
    return Triplets(*_are_triplets(labels).nonzero(as_tuple=True))


def triplets_of_batch(labels: Tensor) -> Triplets | MaskedTriplets:
    """`all_triplets`; on a device the same ones masked [B, B, B], so that nothing waits for it.

    Args:
        labels: [B]; above some 250 rows a device is waited for, to save memory.
    """
    if labels.device.type == "cpu" or len(labels) ** 3 > MOST_MASKED:
        return all_triplets(labels)
    return masked_triplets(labels)


def masked_triplets(labels: Tensor) -> MaskedTriplets:
    """`all_triplets` among all B^3 of a batch.

    Args:
        labels: [B].

    Returns:
        Row numbers [B, 1, 1], [B, 1] and [B], valid [B, B, B].

    Example:
        >>> [rows.tolist() for rows in masked_triplets(torch.tensor([5, 5, 7])).compact()]
        [[0, 1], [1, 0], [2, 2]]
    """
    rows = torch.arange(len(labels), device=labels.device)
    return MaskedTriplets(rows[:, None, None], rows[:, None], rows, _are_triplets(labels))


def _are_triplets(labels: Tensor) -> Tensor:
    same = labels[:, None] == labels
    return others(same)[:, :, None] & ~same[:, None]


class Pairs(NamedTuple):
    """Pairs of rows of a batch; the indices broadcast to the shape of `valid`, if there is one.

    Attributes:
        anchor: row indices, int64.
        other: row indices, int64.
        valid: bool, which pairs count; None = all.
    """

    anchor: Tensor
    other: Tensor
    valid: Tensor | None


def positive_and_negative_pairs(
    labels: Tensor, triplets: Triplets | MaskedTriplets | None
) -> tuple[Pairs, Pairs]:
    """Pairs of the same class and pairs of different classes.

    Args:
        labels: [B].
        triplets: use only their (anchor, positive) and (anchor, negative) pairs; None = every
            ordered pair of the batch, on a device masked [B, B].

    Returns:
        Pairs (anchor, positive) and pairs (anchor, negative).

    Example:
        >>> positive, negative = positive_and_negative_pairs(torch.tensor([5, 5, 7]), None)
        >>> positive.anchor.tolist(), positive.other.tolist(), len(negative.anchor)
        ([0, 1], [1, 0], 4)
    """
    if triplets is not None:
        sides = triplets.positive, triplets.negative
        return tuple(Pairs(triplets.anchor, side, triplets.valid) for side in sides)
    same = labels[:, None] == labels
    if labels.device.type == "cpu":
        return tuple(Pairs(*m.nonzero(as_tuple=True), None) for m in (others(same), ~same))
    return masked_pairs(labels)


def masked_pairs(labels: Tensor) -> tuple[Pairs, Pairs]:
    """All pairs of `positive_and_negative_pairs` among all B^2 of a batch.

    Args:
        labels: [B].

    Returns:
        Pairs with row numbers [B, 1] and [B], valid [B, B].
    """
    rows, same = torch.arange(len(labels), device=labels.device), labels[:, None] == labels
    return tuple(Pairs(rows[:, None], rows, valid) for valid in (others(same), ~same))


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


def entries(matrix: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The entries `matrix[rows, columns]`, without an index where it asks for all of them.

    Args:
        matrix: [B, B].
        rows: row numbers of any shape.
        columns: of the same number of axes; or of fewer, where both are the numbers 0..B-1, as of
            `masked_pairs` and `masked_triplets`: [B, 1] and [B], or [B, 1, 1] and [B, 1] or [B].

    Returns:
        The shape to which rows and columns broadcast; in the second case a view of the matrix.

    Example:
        >>> rows = torch.arange(2)
        >>> entries(torch.eye(2), rows[:, None, None], rows[:, None]).shape
        torch.Size([2, 2, 1])
    """
    if columns.ndim >= rows.ndim:
        return matrix[rows, columns]
    if rows.ndim == 2:
        return matrix
    return matrix[:, None] if columns.ndim == 1 else matrix[..., None]


def positive_rows(
    labels: Tensor, triplets: Triplets | MaskedTriplets | None
) -> tuple[Tensor, Tensor]:
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
    n, anchor, positive = len(labels), triplets.anchor, triplets.positive
    if triplets.valid is not None:  # triplets that do not count are of a row after the last
        anchor = torch.where(triplets.valid, anchor, n).flatten()
        positive = positive.expand_as(triplets.valid).flatten()
    rows = torch.arange(n + 1, device=labels.device)
    none = torch.zeros_like(rows, dtype=torch.bool)
    chosen = rows.index_put((anchor,), positive)
    return chosen[:n], none.index_fill(0, anchor, True)[:n]
