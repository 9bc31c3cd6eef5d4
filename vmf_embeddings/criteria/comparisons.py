"""Pairs and triplets of a batch, pairwise distances, and one positive per anchor."""

from typing import NamedTuple

import torch
from torch import Tensor

from vmf_embeddings.miners.base import MaskedTriplets, Triplets, others
from vmf_embeddings.miners.draws import choose

MOST_MASKED = 2**24
"""Triplets, or places for them, above which the host waits for the device: 64 MB in float32."""


def all_triplets(labels: Tensor, n_anchors: int | None = None) -> Triplets:
    """Every (anchor, positive, negative) of a batch; anchor and positive are different rows.

    Synchronises with the device and allocates [B, B, B] booleans: use a miner above some 200 rows.

    Args:
        labels: [B].
        n_anchors: the first rows are the anchors; None = all.

    Example:
        >>> [rows.tolist() for rows in all_triplets(torch.tensor([5, 5, 7]))]
        [[0, 1], [1, 0], [2, 2]]
    """
    return Triplets(*_are_triplets(labels, n_anchors).nonzero(as_tuple=True))


def triplets_of_batch(labels: Tensor, n_anchors: int | None = None) -> Triplets | MaskedTriplets:
    """`all_triplets`; on a device the same ones masked [B, B, B], so that nothing waits for it.

    Args:
        labels: [B]; above some 250 rows a device is waited for, to save memory.
        n_anchors: see `all_triplets`.
    """
    if labels.device.type == "cpu" or len(labels) ** 3 > MOST_MASKED:
        return all_triplets(labels, n_anchors)
    return masked_triplets(labels, n_anchors)


def masked_triplets(labels: Tensor, n_anchors: int | None = None) -> MaskedTriplets:
    """`all_triplets` among all B^3 of a batch.

    Args:
        labels: [B].
        n_anchors: A; see `all_triplets`.

    Returns:
        Row numbers [A, 1, 1], [B, 1] and [B], valid [A, B, B].

    Example:
        >>> [rows.tolist() for rows in masked_triplets(torch.tensor([5, 5, 7])).compact()]
        [[0, 1], [1, 0], [2, 2]]
    """
    rows = torch.arange(len(labels), device=labels.device)
    valid = _are_triplets(labels, n_anchors)
    return MaskedTriplets(rows[:n_anchors, None, None], rows[:, None], rows, valid)


def _are_triplets(labels: Tensor, n_anchors: int | None) -> Tensor:
    same = labels[:n_anchors, None] == labels
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
    labels: Tensor, triplets: Triplets | MaskedTriplets | None, n_anchors: int | None = None
) -> tuple[Pairs, Pairs]:
    """Pairs of the same class and pairs of different classes.

    Args:
        labels: [B].
        triplets: use only their (anchor, positive) and (anchor, negative) pairs; None = every
            ordered pair of the batch, on a device masked [B, B].
        n_anchors: without triplets, the first rows are the anchors; None = all.

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
    if labels.device.type == "cpu":
        same = labels[:n_anchors, None] == labels
        return tuple(Pairs(*m.nonzero(as_tuple=True), None) for m in (others(same), ~same))
    return masked_pairs(labels, n_anchors)


def masked_pairs(labels: Tensor, n_anchors: int | None = None) -> tuple[Pairs, Pairs]:
    """All pairs of `positive_and_negative_pairs` among all B^2 of a batch.

    Args:
        labels: [B].
        n_anchors: A; see there.

    Returns:
        Pairs with row numbers [A, 1] and [B], valid [A, B].
    """
    rows = torch.arange(len(labels), device=labels.device)
    anchors, same = rows[:n_anchors, None], labels[:n_anchors, None] == labels
    return tuple(Pairs(anchors, rows, valid) for valid in (others(same), ~same))


def distances(embeddings: Tensor, n_anchors: int | None = None) -> Tensor:
    """Euclidean distances of rows, computed from differences of coordinates.

    Unlike |a|^2 + |b|^2 - 2 a.b, this is accurate for close rows, and the gradient of a distance
    of 0 is 0.

    Args:
        embeddings: [B, D].
        n_anchors: A, of the first rows from all; None = all.

    Returns:
        [A, B].

    Example:
        >>> distances(torch.tensor([[0.0, 3.0], [4.0, 0.0]]))
        tensor([[0., 5.],
                [5., 0.]])
    """
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cdist(embeddings[:n_anchors], embeddings, compute_mode=mode)


def entries(matrix: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The entries `matrix[rows, columns]`, without an index where it asks for all of them.

    Args:
        matrix: [A, B].
        rows: row numbers of any shape.
        columns: of the same number of axes; or of fewer, where both are all numbers in order, as of
            `masked_pairs` and `masked_triplets`: [A, 1] and [B], or [A, 1, 1] and [B, 1] or [B].

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
    labels: Tensor, triplets: Triplets | MaskedTriplets | None, n_anchors: int | None = None
) -> tuple[Tensor, Tensor]:
    """One positive (another row of the same class) for every row: from triplets, or at random.

    Args:
        labels: [B].
        triplets: the last positive of each anchor is used; None = drawn uniformly with torch's
            global generator.
        n_anchors: A, only for the first rows; None = for all.

    Returns:
        Row index of the positive [A], and whether the row has one [A] (the index means nothing
        otherwise).

    Example:
        >>> rows, has_positive = positive_rows(torch.tensor([5, 5, 7]), None)
        >>> rows[:2].tolist(), has_positive.tolist()
        ([1, 0], [True, True, False])
    """
    if triplets is None:
        candidates = others(labels[:n_anchors, None] == labels)
        return choose(candidates, None), candidates.any(1)
    n, anchor, positive = len(labels[:n_anchors]), triplets.anchor, triplets.positive
    if triplets.valid is not None:  # triplets that do not count are of a row after the last
        anchor = torch.where(triplets.valid, anchor, n).flatten()
        positive = positive.expand_as(triplets.valid).flatten()
    rows = torch.arange(n + 1, device=labels.device)
    none = torch.zeros_like(rows, dtype=torch.bool)
    chosen = rows.index_put((anchor,), positive)
    return chosen[:n], none.index_fill(0, anchor, True)[:n]
