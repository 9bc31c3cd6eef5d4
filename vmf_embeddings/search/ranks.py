"""For each positive of a query, how many negatives rank before it: exact, computed by tiles.

The positives of a query are the gallery rows of its class, its negatives all others; rows of its
own image are neither. The counts give the rank of every positive, and so every retrieval score; no
list of neighbours is kept, and nothing but the scores within a class is sorted.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings.search.by_class import ByClass, exclude, pairs_from
from vmf_embeddings.search.counting import count_tile, count_transposed
from vmf_embeddings.search.exact import Similarity
from vmf_embeddings.search.full_lines import FullLineCounts
from vmf_embeddings.search.positives import QueryPositives, allocate_positives
from vmf_embeddings.search.precision import full_float32_products
from vmf_embeddings.search.process_group import ProcessGroup, SingleProcess
from vmf_embeddings.search.products import Products

MAX_ENTRIES = 2**24  # (query, positive) pairs held at once: 16 bytes each
MAX_COUNTS = 2**20  # counts yielded at once
TILE = 768  # queries, and gallery rows, of a tile: it stays in a processor's level-2 cache
# where lines are sorted, fewer and longer ones are faster, in buffers that malloc reuses
LARGE_CLASS_TILE = 1920
TILES_PER_BLOCK = 4  # consecutive tiles that share their gallery rows
# above this fraction of scores that had to be computed again, float64 products are faster
MAX_RESCORED_FRACTION = 0.05
# mean number of positives above which some score always lies close to one: float64 from the start
LARGE_CLASS = 128

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Ranked:
    """What precedes the positives of queries whose classes have the same number n of gallery rows.

    Args:
        first: first query of `ByClass.queries`.
        last: one past the last.
        before: [last - first, n] negatives before each positive, ascending along a row; excluded
            rows of the class, such as the query itself, come first with count 0. [last - first, 1]
            where only the nearest positive is ranked.
        tied: negatives with the score of the positive, in the same shape; they are not in `before`.
            None where ties go by row number.
        n_equal: positives with the score of this one, itself included; None where `tied` is.
    """

    first: int
    last: int
    before: Tensor
    tied: Tensor | None = None
    n_equal: Tensor | None = None


def negatives_before(
    rows: Tensor,
    order: ByClass,
    *,
    metric: str | None = None,
    similarity: Similarity | None = None,
    best_only: bool = False,
    share_ties: bool = True,
    process_group: ProcessGroup | None = None,
    progress: Progress | None = None,
) -> Iterator[Ranked]:
    """For each positive of a query, how many negatives rank before it, and how many tie with it.

    Rows are ranked by float64 scores. By inner product or distance on the CPU, tiles of scores are
    computed in float32 where that is faster, and pairs whose order its rounding could change are
    scored again in float64.

    Equal rows have equal scores, however they are computed. By inner product or distance, scores
    are also equal where they differ by no more than the error of float64 products
    (`Products.tie_errors`); by another similarity where its float64 values are.

    Args:
        rows: [N, D], projected (`Geometry.project`).
        order: queries and gallery sorted by class.
        metric: "ip" or "l2".
        similarity: takes [Q, D] and [G, D] in float64, gives [Q, G]; used where `metric` is None.
        best_only: count for the nearest positive only.
        share_ties: count negatives with the score of a positive apart, in `Ranked.tied`; otherwise
            those of lower row number come before it, and equal means equal to the last bit.
        process_group: processes that divide the work; each gets the complete result.
        progress: called with the fraction of the work that is done, in (0, 1].

    Yields:
        Counts for all queries of `order` that have gallery rows of their class, in its order.
    """
    process_group = process_group or SingleProcess()
    report_progress = progress or (lambda done: None)
    work: _TileCounts | FullLineCounts
    if metric is not None and not rows.is_cuda:
        work = _TileCounts(Products(rows, metric), order, process_group, share_ties)
    else:
        work = FullLineCounts(rows, metric, similarity, order, process_group, share_ties)
    blocks = list(_blocks(order, work.max_queries(), best_only))
    for number, (first, last) in enumerate(blocks):
        positives = allocate_positives(
            order, first, last, best_only=best_only, tie_errors=work.tie_errors,
            share_ties=share_ties, device=rows.device,
        )  # fmt: skip
        for done in work.count(positives, first, last):
            report_progress((number + done) / len(blocks))
        work.add_over_processes(positives)
        for begin, end, size in positives.equal_size_ranges(0, last - first):
            for start in range(begin, end, step := max(1, MAX_COUNTS // size)):
                stop = min(start + step, end)
                before = positives.view(positives.increments, start, stop).cumsum(1)
                ties = (
                    None if counts is None else positives.view(counts, start, stop)
                    for counts in (positives.tied, positives.n_equal)
                )  # fmt: skip
                yield Ranked(first + start, first + stop, before, *ties)


def _blocks(order: ByClass, max_queries: int, best_only: bool) -> Iterator[tuple[int, int]]:
    """Ranges of at most `max_queries` queries with at most MAX_ENTRIES positives, or one query."""
    sizes = order.class_sizes.clamp_max(1) if best_only else order.class_sizes
    ends = sizes.cumsum(0)
    first = 0
    while first < len(ends):
        limit = int(ends[first] - sizes[first]) + MAX_ENTRIES
        last = int(torch.searchsorted(ends, limit, right=True))
        last = min(max(last, first + 1), first + max_queries)
        yield first, last
        first = last


class _TileCounts:
    """Counts from tiles of matrix products, on the CPU.

    Where queries and gallery are the same rows, scores are symmetric: only the tiles of the upper
    triangle are computed, and each is counted for both sides.
    """

    def __init__(
        self, products: Products, order: ByClass, process_group: ProcessGroup, share_ties: bool
    ) -> None:
        self.products, self.order, self.process_group = products, order, process_group
        sizes = order.class_sizes
        large_classes = len(sizes) > 0 and float(sizes.double().mean()) > LARGE_CLASS
        self.dtype = torch.float64 if large_classes else products.start_dtype()
        self.side = LARGE_CLASS_TILE if large_classes else TILE
        self.tiles_per_block = 1 if large_classes else TILES_PER_BLOCK
        no_error = torch.zeros(len(sizes), dtype=torch.float64)
        self.tie_errors = products.tie_errors(order) if share_ties else no_error
        self.error_bounds = products.error_bounds(order, self.dtype) + self.tie_errors
        self.negatives = order.excluded_negatives
        self.operands: list[tuple] = [((), torch.empty(0))] * 2
        self.buffer = torch.empty(self.side**2, dtype=torch.float64)

    def max_queries(self) -> int:
        """All of them."""
        return len(self.order.queries)

    def _operand(self, numbers: Tensor, *, is_query: bool) -> Tensor:
        """`Products.operand`; the last one of each side is kept for the next tiles."""
        key = int(numbers[0]), len(numbers), self.dtype
        if self.operands[is_query][0] != key:
            operand = self.products.operand(numbers, self.dtype, is_query=is_query)
            self.operands[is_query] = key, operand
        return self.operands[is_query][1]

    def _tile_buffer(self, n_lines: int, n_columns: int) -> Tensor:
        """Memory for a tile, reused: newly allocated pages would cost a tenth of the product."""
        buffer = self.buffer.view(self.dtype)
        return buffer[: n_lines * n_columns].view(n_lines, n_columns)

    def count(self, positives: QueryPositives, first: int, last: int) -> Iterator[float]:
        """Count for the queries from `first` to `last`; yields the fraction of the work done."""
        own = pairs_from(self.order.excluded_positives, first, last)
        self.products.fill(positives, own - torch.tensor([[first], [0]]))
        whole = last - first == len(self.order.queries) and self.order.symmetric
        side, block_size = self.side, self.side * self.tiles_per_block
        tiles = [
            (row, column)
            for block in range(first, last, block_size)
            for column in range(block if whole else 0, len(self.order.gallery), side)
            for row in range(
                block, min(block + block_size, last, column + 1 if whole else last), side
            )
        ][self.process_group.rank :: self.process_group.size]
        for number, (row, column) in enumerate(tiles, 1):
            block = first + (row - first) // block_size * block_size
            numbers = self.order.queries[block : min(block + block_size, last)]
            queries = self._operand(numbers, is_query=True)[row - block :][:side]
            gallery = self._operand(self.order.gallery[column : column + side], is_query=False)
            tile = self._tile_buffer(len(queries), len(gallery))
            with full_float32_products(tile.device):
                torch.mm(queries, gallery.T, out=tile)
            if self.negatives.numel():
                inside = pairs_from(self.negatives, row, row + len(tile))
                exclude(tile, inside, row, column)
            self._count(tile, row - first, column, positives, first, both=whole and column > row)
            yield number / len(tiles)

    def _count(
        self,
        tile: Tensor,
        row: int,
        column: int,
        positives: QueryPositives,
        first: int,
        *,
        both: bool,
    ) -> None:
        """Count a tile, if `both` its transpose too; change to float64 where float32 is too coarse.

        Too coarse: more than MAX_RESCORED_FRACTION of the scores were computed again.
        """
        args = positives, self.error_bounds[first:], self.products.scorer
        n_rescored = count_tile(tile, row, column, *args)
        if both:
            n_rescored += count_transposed(tile, row, column, *args)
        if self.dtype == torch.float32 and n_rescored > MAX_RESCORED_FRACTION * tile.numel():
            self.dtype = torch.float64
            bounds = self.products.error_bounds(self.order, self.dtype)
            self.error_bounds = bounds + self.tie_errors

    def add_over_processes(self, positives: QueryPositives) -> None:
        """Sum the counts of all processes; each has found all scores of positives by itself."""
        self.process_group.add(positives.increments)
        if positives.tied is not None:
            self.process_group.add(positives.tied)
