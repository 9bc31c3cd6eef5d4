"""For each positive of a query, how many negatives rank before it: exact, computed by tiles.

The positives of a query are the gallery rows of its class, its negatives all others. The counts
give the rank of every positive, and so every retrieval score; no list of neighbours is kept, and
nothing but the scores within a class is sorted.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vmf_embeddings.search.by_class import ByClass
from vmf_embeddings.search.counting import ExactScorer, count_tile, count_transposed
from vmf_embeddings.search.exact import METRICS, Similarity, first_identical_row
from vmf_embeddings.search.positives import QueryPositives, allocate_positives
from vmf_embeddings.search.products import Products

MAX_ENTRIES = 2**24  # (query, positive) pairs held at once: 16 bytes each
MAX_COUNTS = 2**20  # counts yielded at once
MAX_SCORES = 2**22  # similarities held at once: 32 MiB
TILE = 768  # queries, and gallery rows, of a tile: it stays in a processor's level-2 cache
# where lines are sorted, fewer and longer ones are faster, in buffers that malloc reuses
LARGE_CLASS_TILE = 1920
TILES_PER_BLOCK = 4  # consecutive tiles that share their gallery rows
# above this fraction of scores that had to be computed again, float64 products are faster
MAX_RESCORED_FRACTION = 0.05
# mean number of positives above which some score always lies close to one: float64 from the start
LARGE_CLASS = 128

Progress = Callable[[float], None]


class ProcessGroup(Protocol):
    """Processes that divide the work among them (`evaluation.processes` makes one from torch's)."""

    rank: int
    size: int

    def add(self, counts: Tensor) -> None:
        """Sum integer counts over the processes, in place (an all-reduce)."""


@dataclass(frozen=True)
class SingleProcess:
    """A group of one process."""

    rank: int = 0
    size: int = 1

    def add(self, counts: Tensor) -> None:
        """Do nothing: the counts are complete already."""


def negatives_before(
    rows: Tensor,
    order: ByClass,
    *,
    metric: str | None = None,
    similarity: Similarity | None = None,
    best_only: bool = False,
    process_group: ProcessGroup | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[int, int, Tensor]]:
    """For each positive of a query, how many negatives rank before it.

    Rows are ranked by (float64 score descending, row number ascending). By inner product or
    distance on the CPU, tiles of scores are computed in float32 where that is faster, and pairs
    whose order its rounding could change are scored again in float64.

    Args:
        rows: [N, D], projected (`Geometry.project`).
        order: queries and gallery sorted by class.
        metric: "ip" or "l2".
        similarity: takes [Q, D] and [G, D] in float64, gives [Q, G]; used where `metric` is None.
        best_only: count for the nearest positive only.
        process_group: processes that divide the work; each gets the complete result.
        progress: called with the fraction of the work that is done, in (0, 1].

    Yields:
        (first, last, counts) for queries first to last (exclusive) of `order.queries`; all of their
        classes have the same number n of gallery rows. Counts are [last - first, n], ascending
        along a row, where a query that is in the gallery comes first itself with count 0; or
        [last - first, 1] if `best_only`.
    """
    process_group = process_group or SingleProcess()
    report_progress = progress or (lambda done: None)
    work: _TileCounts | _FullLineCounts
    if metric is not None and not rows.is_cuda:
        work = _TileCounts(Products(rows, metric), order, process_group)
    else:
        work = _FullLineCounts(rows, similarity or METRICS[str(metric)], order, process_group)
    blocks = list(_blocks(order, work.max_queries(), best_only))
    for number, (first, last) in enumerate(blocks):
        positives = allocate_positives(order, first, last, best_only=best_only, device=rows.device)
        for done in work.count(positives, first, last):
            report_progress((number + done) / len(blocks))
        process_group.add(positives.increments)
        for begin, end, size in positives.equal_size_ranges(0, last - first):
            for start in range(begin, end, step := max(1, MAX_COUNTS // size)):
                stop = min(start + step, end)
                increments = positives.view(positives.increments, start, stop)
                yield first + start, first + stop, increments.cumsum(1)


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

    def __init__(self, products: Products, order: ByClass, process_group: ProcessGroup) -> None:
        self.products, self.order, self.process_group = products, order, process_group
        sizes = order.class_sizes
        large_classes = len(sizes) > 0 and float(sizes.double().mean()) > LARGE_CLASS
        self.dtype = torch.float64 if large_classes else products.start_dtype()
        self.side = LARGE_CLASS_TILE if large_classes else TILE
        self.tiles_per_block = 1 if large_classes else TILES_PER_BLOCK
        self.error_bounds = products.error_bounds(order, self.dtype)
        self.operands: list[tuple] = [((), torch.empty(0))] * 2
        self.buffer = torch.empty(self.side**2, dtype=torch.float64)

    def max_queries(self) -> int:
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
        self.products.fill(positives, self.order.self_positions[first:last])
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
            torch.mm(queries, gallery.T, out=tile)
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
            self.error_bounds = self.products.error_bounds(self.order, self.dtype)


class _FullLineCounts:
    """Counts from float64 similarities of each query to the whole gallery, on any device."""

    def __init__(
        self, rows: Tensor, similarity: Similarity, order: ByClass, process_group: ProcessGroup
    ) -> None:
        self.rows, self.similarity = rows, similarity
        self.order, self.process_group = order, process_group
        self.gallery = rows[order.gallery.to(rows.device)].double()
        self.first_copy = first_identical_row(self.gallery)
        first_copy = torch.arange(len(rows))
        if self.first_copy is not None:
            first_copy[order.gallery] = order.gallery[self.first_copy.cpu()]
        self.scorer = ExactScorer(first_copy)

    def max_queries(self) -> int:
        return self.process_group.size * max(1, MAX_SCORES // len(self.gallery))

    def count(self, positives: QueryPositives, first: int, last: int) -> Iterator[float]:
        """Count for this process's part of the queries from `first` to `last`; yields 1.0 once."""
        n, rank = self.process_group.size, self.process_group.rank
        begin, end = (last - first) * rank // n, (last - first) * (rank + 1) // n
        if begin < end:
            queries = self.rows[positives.queries[begin:end].to(self.rows.device)].double()
            scores = self.similarity(queries, self.gallery)
            if self.first_copy is not None:
                scores = scores[:, self.first_copy]
            own = self.order.self_positions[first:last]
            for start, stop, size in positives.equal_size_ranges(begin, end):
                class_begin = positives.class_begin[start:stop]
                columns = (class_begin[:, None] + torch.arange(size)).to(scores.device)
                of_class = scores[start - begin : stop - begin].gather(1, columns)
                position = torch.where(own[start:stop] >= 0, own[start:stop] - class_begin, -1)
                positives.fill(start, stop, of_class, position)
            no_error = torch.zeros(last - first, dtype=torch.float64)
            count_tile(scores.contiguous(), begin, 0, positives, no_error, self.scorer)
        yield 1.0
