"""Scores by inner product or squared distance: rounded for tiles of a matrix, exact for pairs."""

from itertools import pairwise

import torch
from torch import Tensor

from vmf_embeddings import native, threads
from vmf_embeddings.search.by_class import ByClass, pairs_from
from vmf_embeddings.search.exact import first_identical_row
from vmf_embeddings.search.pair_scores import ExactScorer
from vmf_embeddings.search.positives import QueryPositives
from vmf_embeddings.search.tie_errors import TieErrors, product_error

# In fewer dimensions float32 leaves too many close neighbours undecided, and float64 costs little.
FLOAT32_MIN_DIM = 32
MATRIX_MIN_CLASS_SIZE = 64  # classes of at least this size are scored by a matrix product
ROWS_AT_ONCE = 1024
PAIRS_AT_ONCE = 2**16


class Products:
    """Scores of pairs of rows: x.y by "ip", -|x - y|^2 / 2 by "l2" (larger = closer).

    Args:
        rows: [N, D] on the CPU.
        metric: "ip" or "l2".
    """

    def __init__(self, rows: Tensor, metric: str) -> None:
        self.rows = rows if rows.dtype in (torch.float32, torch.float64) else rows.float()
        self.rows = self.rows.contiguous()
        self.squared = metric == "l2"
        first_copy = first_identical_row(self.rows)
        self.has_duplicates = first_copy is not None
        self.scorer = ExactScorer(
            torch.arange(len(rows)) if first_copy is None else first_copy,
            self.rows,
            self.squared,
            compiled=native.enabled(len(rows) ** 2),
        )
        # distances do not depend on the origin, but their rounding error does
        self.origin = self.rows.mean(0) if self.squared else self.rows.new_zeros(())
        self.norms = torch.cat(
            [(part.double() - self.origin).norm(dim=1) for part in self.rows.split(ROWS_AT_ONCE)]
        )

    def start_dtype(self) -> torch.dtype:
        """Float32 where it is expected to decide most comparisons, else float64."""
        return torch.float32 if self.rows.shape[1] >= FLOAT32_MIN_DIM else torch.float64

    def operand(self, numbers: Tensor, dtype: torch.dtype, *, is_query: bool) -> Tensor:
        """One side of the matrix product that scores a tile: queries @ gallery.T = scores.

        By "ip" these are the rows [n, D]. By "l2", with rows centred at `origin`, they are
        [n, D + 2]: (x, -|x|^2 / 2, 1) for queries and (y, 1, -|y|^2 / 2) for gallery rows, whose
        product is x.y - |x|^2 / 2 - |y|^2 / 2 = -|x - y|^2 / 2.

        Args:
            numbers: [n] row numbers.
            dtype: of the result.
            is_query: whether for the left side of the product (queries) or the right (gallery).
        """
        rows = self.rows[numbers]
        if not self.squared:
            return rows.to(dtype)
        half_square = self.norms[numbers, None].square().to(dtype) / -2
        extra = [half_square, torch.ones_like(half_square)]
        # subtract in the wider of the two types, so that centring adds no rounding error
        wide = torch.promote_types(rows.dtype, dtype)
        centred = (rows.to(wide) - self.origin).to(dtype)
        return torch.cat([centred, *(extra if is_query else extra[::-1])], 1)

    def error_bounds(self, order: ByClass, dtype: torch.dtype) -> Tensor:
        """Largest error of any product of `operand`s in this dtype, for each query [Q].

        The rounding of the rows and of their norms adds to that of the products.
        """
        queries, largest = self.norms[order.queries], self.norms[order.gallery].max()
        size = (queries + largest).square() / 2 if self.squared else queries * largest
        return product_error(self.rows.shape[1], torch.finfo(dtype).eps / 2) * size

    def tie_errors(self, order: ByClass) -> TieErrors:
        """Largest difference of two float64 scores of a query that are mathematically equal.

        Which of several ways computes a score, and in which order it sums, is then of no
        consequence for what ties.
        """
        largest = 2 * self.error_bounds(order, torch.float64)
        if not self.squared:
            return TieErrors.of_products(largest)
        lengths = torch.cat(
            [self.rows[part].double().norm(dim=1) for part in order.queries.split(ROWS_AT_ONCE)]
        )
        return TieErrors.of_distances(largest, lengths, self.rows.shape[1])

    def fill(self, positives: QueryPositives, excluded: Tensor) -> None:
        """Score the positives of every query exactly.

        Args:
            positives: whose `threshold`, `position` and `n_equal` are set.
            excluded: [2, E] ascending pairs (query, gallery row) of one class that are not
                compared.
        """
        query, place = excluded
        of_class = torch.stack([query, place - positives.class_begin[query]])

        def fill_part(begin: int, end: int, size: int) -> None:
            scores = self._class_scores(positives, begin, end, size)
            own = pairs_from(of_class, begin, end) - torch.tensor([[begin], [0]])
            positives.fill(begin, end, scores, own)

        for first, last, size in positives.equal_size_ranges(0, len(positives.queries)):
            if size < MATRIX_MIN_CLASS_SIZE:
                parts = range(first, last, max(1, PAIRS_AT_ONCE // size))
            else:
                parts = [first + start for start in _starts(positives.class_begin[first:last])]
            edges = pairwise([*parts, last])
            threads.each(lambda part: fill_part(*part), [(*edge, size) for edge in edges])

    def _class_scores(self, positives: QueryPositives, first: int, last: int, size: int) -> Tensor:
        """Exact scores [last - first, size] of the class's rows, in the order of the gallery."""
        queries = positives.queries[first:last]
        if size >= MATRIX_MIN_CLASS_SIZE and not self.squared:
            others = positives.gallery[int(positives.class_begin[first]) :][:size]
            scores = self.rows[queries].double() @ self.rows[others].double().T
            return scores[:, self._first_copy_among(others)] if self.has_duplicates else scores
        others = positives.gallery[positives.class_begin[first:last, None] + torch.arange(size)]
        pairs = queries[:, None].expand_as(others).flatten(), others.flatten()
        return self.scorer.score(*pairs).view(others.shape)

    def _first_copy_among(self, numbers: Tensor) -> Tensor:
        """For each of these rows [n], the index of the first among them that equals it.

        A matrix product may give equal columns scores that differ in the last bit.
        """
        first_copy, group = self.scorer.first_copy[numbers].unique(return_inverse=True)
        index = torch.arange(len(numbers))
        first = torch.full_like(first_copy, len(numbers)).scatter_reduce(0, group, index, "amin")
        return first[group]


def _starts(class_begin: Tensor) -> list[int]:
    """Indices where the values of [Q] change, and every `ROWS_AT_ONCE` of a long range."""
    edges = torch.ones(len(class_begin), dtype=torch.bool)
    edges[1:] = class_begin[1:] != class_begin[:-1]
    edges[::ROWS_AT_ONCE] = True
    return edges.nonzero().squeeze(1).tolist()
