"""Exact neighbours from float64 similarities, by blocks of queries; ties go to the lowest index."""

from collections.abc import Callable

import torch
from torch import Tensor

Similarity = Callable[[Tensor, Tensor], Tensor]
BLOCK_ELEMENTS = 2**22  # similarities held at once: 32 MiB in float64
_HASH_ROWS = 4096


def inner_product(queries: Tensor, gallery: Tensor) -> Tensor:
    """Inner products [Q, G] of two sets of rows."""
    return queries @ gallery.T


def negative_squared_distance(queries: Tensor, gallery: Tensor) -> Tensor:
    """Negative squared Euclidean distances [Q, G] of two sets of rows."""
    squares = queries.square().sum(1, keepdim=True) + gallery.square().sum(1)
    return 2 * queries @ gallery.T - squares


METRICS: dict[str, Similarity] = {"ip": inner_product, "l2": negative_squared_distance}


def check_comparison(metric: str | None, similarity: Similarity | None) -> None:
    """Refuse an unknown metric, or neither a metric nor a similarity.

    Raises:
        ValueError: either.
    """
    if metric is not None and metric not in METRICS:
        raise ValueError(f"metric {metric!r} is unknown; known: {', '.join(METRICS)} or None")
    if metric is None and similarity is None:
        raise ValueError("a search for neighbours needs a similarity or a metric, got neither")


def first_identical_row(rows: Tensor) -> Tensor | None:
    """For each row the lowest index of a row equal to it, or None where all rows differ.

    A matrix product may give two equal columns results that differ in the last bit, and the order
    of exact duplicates would then be arbitrary. Copying the score of the first one makes the tie
    exact. Rows are compared by a 64-bit hash of their bits, then matches by their values.

    Args:
        rows: [N, D].

    Returns:
        [N] int64 or None. 0.0 and -0.0 are equal.
    """
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**62), 2**62, (rows.shape[1],), generator=generator) * 2 + 1
    factors = factors.to(rows.device)
    hashes = torch.cat(
        [
            ((block.double() + 0.0).view(torch.int64) * factors).sum(1)
            for block in rows.split(_HASH_ROWS)
        ]
    )
    _, group = hashes.unique(return_inverse=True)
    own = torch.arange(len(rows), device=rows.device)
    first = torch.full_like(own, len(rows)).scatter_reduce(0, group, own, "amin")[group]
    copies = (first != own).nonzero().squeeze(1)
    if len(copies) == 0:
        return None
    differs = (rows[copies] != rows[first[copies]]).any(1)
    first[copies[differs]] = copies[differs]
    return first


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best columns of each row, best first, equal scores in the order of their columns.

    Args:
        scores: [Q, G].
        k: 1 <= k <= G.

    Returns:
        Columns [Q, k] and their scores [Q, k].
    """
    values, columns = scores.topk(k, dim=1)
    worst = values[:, -1:]
    cut_through_tie = (scores == worst).sum(1) > (values == worst).sum(1)
    if cut_through_tie.any():
        ordered = scores[cut_through_tie].sort(dim=1, descending=True, stable=True)
        values[cut_through_tie] = ordered.values[:, :k]
        columns[cut_through_tie] = ordered.indices[:, :k]
    return order_ties(columns, values)


def order_ties(columns: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Sort by (value descending, column ascending) along the last axis; both [Q, k]."""
    columns, order = columns.sort(dim=1)
    values, by_value = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return columns.gather(1, by_value), values


def empty_answer(
    queries: Tensor, k: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Uninitialised columns int64 and scores [Q, k] on the device of the queries."""
    shape = (len(queries), k)
    return queries.new_empty(shape, dtype=torch.int64), queries.new_empty(shape, dtype=dtype)


class ExactSearch:
    """Neighbours in one gallery by any similarity, computed in float64.

    Args:
        gallery: [G, D].
        similarity: takes [Q, D] and [G, D] in float64, gives [Q, G]; larger is closer.
    """

    def __init__(self, gallery: Tensor, similarity: Similarity) -> None:
        self.gallery = gallery.double()
        self.similarity = similarity
        self.representative = first_identical_row(self.gallery)

    def __call__(self, queries: Tensor, k: int, exclude: Tensor) -> tuple[Tensor, Tensor]:
        """Indices and scores [Q, k] for k <= G; gallery rows `exclude` [Q, E] get -inf."""
        step = max(1, BLOCK_ELEMENTS // len(self.gallery))
        columns, scores = empty_answer(queries, k)
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            columns[part], scores[part] = self._block(queries[part], k, exclude[part])
        return columns, scores

    def _block(self, queries: Tensor, k: int, exclude: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.similarity(queries.double(), self.gallery)
        if self.representative is not None:
            scores = scores[:, self.representative]
        rows, _ = (exclude >= 0).nonzero().unbind(1)
        scores[rows, exclude[exclude >= 0]] = -torch.inf
        return top_k(scores, k)
