"""Scores by inner product or squared distance: fast and rounded for tiles, exact for pairs."""

from itertools import pairwise

import torch
from torch import Tensor

from vmf_embeddings.search.by_class import ByClass
from vmf_embeddings.search.counting import Referee
from vmf_embeddings.search.exact import first_identical_row
from vmf_embeddings.search.slots import Slots

# Float32 cannot tell close neighbours apart in a few dimensions, and there float64 costs little.
FLOAT32_MIN_DIM = 32
MATRIX_MIN_SLOTS = 64  # classes from this size on are scored by a matrix product
ROWS_AT_ONCE = 1024
PAIRS_AT_ONCE = 2**16


class Products:
    """Scores of rows: x.y by "ip", -|x - y|^2 / 2 by "l2", which order them as their names say.

    Args:
        rows: [N, D] on the processor.
        metric: "ip" or "l2".
    """

    def __init__(self, rows: Tensor, metric: str) -> None:
        self.rows = rows if rows.dtype in (torch.float32, torch.float64) else rows.float()
        self.rows = self.rows.contiguous()
        self.squared = metric == "l2"
        copies = first_identical_row(self.rows)
        self.has_copies = copies is not None
        self.referee = Referee(
            torch.arange(len(rows)) if copies is None else copies, self.rows, self.squared
        )
        # distances do not change with the origin, their rounding does
        self.origin = self.rows.mean(0) if self.squared else self.rows.new_zeros(())
        self.lengths = torch.cat(
            [(part.double() - self.origin).norm(dim=1) for part in self.rows.split(ROWS_AT_ONCE)]
        )

    def start_dtype(self) -> torch.dtype:
        """Float32 where that promises to decide most."""
        wide = self.rows.shape[1] >= FLOAT32_MIN_DIM
        # other settings let a float32 product round its factors to fewer bits
        trusted = torch.get_float32_matmul_precision() == "highest"
        return torch.float32 if wide and trusted else torch.float64

    def strip(self, numbers: Tensor, dtype: torch.dtype, *, asks: bool) -> Tensor:
        """Rows [n, D] or, by distance, [n, D + 2]: products of an asking and another strip score.

        Args:
            numbers: [n] row numbers.
            dtype: of the result.
            asks: whether on the left of the product; by distance the two sides differ.
        """
        rows = self.rows[numbers]
        if not self.squared:
            return rows.to(dtype)
        half = self.lengths[numbers, None].square().to(dtype) / -2
        ends = [half, torch.ones_like(half)]
        wide = torch.promote_types(rows.dtype, dtype)  # the difference must not be rounded coarser
        centred = (rows.to(wide) - self.origin).to(dtype)
        return torch.cat([centred, *(ends if asks else ends[::-1])], 1)

    def margins(self, order: ByClass, dtype: torch.dtype) -> Tensor:
        """How far a product of strips may be from the exact score, for each query [Q].

        A sum of D products in any order errs by at most D u sum |x_i y_i|, u = 2^-24 or 2^-53; the
        rows' own rounding and the norms' add to that (Higham 2002, Accuracy and Stability of
        Numerical Algorithms, section 3.1).
        """
        unit = torch.finfo(dtype).eps / 2
        queries, most = self.lengths[order.queries], self.lengths[order.gallery].max()
        size = (queries + most).square() / 2 if self.squared else queries * most
        return (self.rows.shape[1] + 16) * unit * size

    def fill(self, slots: Slots, own: Tensor) -> None:
        """Score every query's class; `own` [Q] is where the query stands in the gallery or -1."""
        own = torch.where(own >= 0, own - slots.low, -1)
        for first, last, size in slots.runs(0, len(own)):
            if size < MATRIX_MIN_SLOTS:
                parts = range(first, last, max(1, PAIRS_AT_ONCE // size))
            else:
                parts = [first + start for start in _starts(slots.low[first:last])]
            for begin, end in pairwise([*parts, last]):
                scores = self._class_scores(slots, begin, end, size)
                slots.fill(begin, end, scores, own[begin:end])

    def _class_scores(self, slots: Slots, first: int, last: int, size: int) -> Tensor:
        """Exact scores [last - first, size] of the class, in the order of the gallery."""
        queries = slots.queries[first:last]
        if size >= MATRIX_MIN_SLOTS and not self.squared:
            others = slots.gallery[int(slots.low[first]) :][:size]
            scores = self.rows[queries].double() @ self.rows[others].double().T
            return scores[:, self._first_copies(others)] if self.has_copies else scores
        others = slots.gallery[slots.low[first:last, None] + torch.arange(size)]
        pairs = queries[:, None].expand_as(others).flatten(), others.flatten()
        return self.referee.score(*pairs).view(others.shape)

    def _first_copies(self, numbers: Tensor) -> Tensor:
        """For each of these rows [n] the first of them that equals it: a product may differ."""
        copies, group = self.referee.copies[numbers].unique(return_inverse=True)
        places = torch.arange(len(numbers))
        first = torch.full_like(copies, len(numbers)).scatter_reduce(0, group, places, "amin")
        return first[group]


def _starts(low: Tensor) -> list[int]:
    """Where the values of [Q] change, and every so many rows of a long stretch."""
    edges = torch.ones(len(low), dtype=torch.bool)
    edges[1:] = low[1:] != low[:-1]
    edges[::ROWS_AT_ONCE] = True
    return edges.nonzero().squeeze(1).tolist()
