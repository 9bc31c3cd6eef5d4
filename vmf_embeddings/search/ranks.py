"""For each positive of a query, how many negatives rank before it: exact, computed by tiles.

The positives of a query are the gallery rows of its class, its negatives all others; rows of its
own image are neither. The counts give the rank of every positive, and so every retrieval score; no
list of neighbours is kept, and nothing but the scores within a class is sorted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from vmf_embeddings import threads
from vmf_embeddings.search.by_class import ByClass, exclude, pairs_from
from vmf_embeddings.search.counting import count_tile, count_transposed
from vmf_embeddings.search.exact import Similarity
from vmf_embeddings.search.full_lines import FullLineCounts
from vmf_embeddings.search.positives import QueryPositives, allocate_positives
from vmf_embeddings.search.precision import full_float32_products
from vmf_embeddings.search.process_group import ProcessGroup, SingleProcess
from vmf_embeddings.search.products import Products
from vmf_embeddings.search.tie_errors import TieErrors

MAX_ENTRIES = 2**24  # (query, positive) pairs held at once: 16 bytes each
MAX_COUNTS = 2**20  # counts yielded at once
TILES_PER_THREAD = 32  # between two reports of progress
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


class _Tile(NamedTuple):
    """Scores of the queries from `row` and the gallery rows from `column`.

    Args:
        row: first query of `ByClass.queries`.
        column: first row of `ByClass.gallery`.
        block_begin: first query of the tiles that share their gallery rows.
        block_end: one past the last.
        both_ways: whether the transpose is counted, too.
    """

    row: int
    column: int
    block_begin: int
    block_end: int
    both_ways: bool


def _operand(
    products: Products, order: ByClass, begin: int, end: int, dtype: torch.dtype, is_query: bool
) -> Tensor:
    """`Products.operand` of a range of the sorted queries or gallery rows."""
    numbers = order.queries if is_query else order.gallery
    return products.operand(numbers[begin:end], dtype, is_query=is_query)


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
        self.side = LARGE_CLASS_TILE if large_classes else TILE
        self.tiles_per_block = 1 if large_classes else TILES_PER_BLOCK
        self.tie_errors = products.tie_errors(order) if share_ties else TieErrors.none(len(sizes))
        dtype = torch.float64 if large_classes else products.start_dtype()
        self.precision = self._precision(dtype)
        self.negatives = order.excluded_negatives
        self.buffers: list[Tensor] = []
        # the rows of the last tiles of all threads are kept for the next ones
        operands = lru_cache(2 + torch.get_num_threads())
        self.operand = operands(partial(_operand, products, order))

    def _precision(self, dtype: torch.dtype) -> tuple[torch.dtype, Tensor]:
        """Type of the products, and how far the scores of each query [Q] may then be off."""
        return dtype, self.products.error_bounds(self.order, dtype) + self.tie_errors.largest

    def max_queries(self) -> int:
        """All of them."""
        return len(self.order.queries)

    @contextmanager
    def _tile_memory(self, shape: tuple[int, int], dtype: torch.dtype) -> Iterator[Tensor]:
        """Memory for a tile, reused: newly allocated pages would cost a tenth of the product."""
        buffer = (
            self.buffers.pop() if self.buffers else torch.empty(8 * self.side**2, dtype=torch.uint8)
        )
        yield buffer.view(dtype)[: prod(shape)].view(shape)
        self.buffers.append(buffer)

    def count(self, positives: QueryPositives, first: int, last: int) -> Iterator[float]:
        """Count for the queries from `first` to `last`; yields the fraction of the work done.

        Each thread computes and counts whole tiles, so that a tile stays in its own cache.
        """
        own = pairs_from(self.order.excluded_positives, first, last)
        self.products.fill(positives, own - torch.tensor([[first], [0]]))
        whole = last - first == len(self.order.queries) and self.order.symmetric
        side, block_size = self.side, self.side * self.tiles_per_block
        tiles = [
            _Tile(row, column, block, min(block + block_size, last), whole and column > row)
            for block in range(first, last, block_size)
            for column in range(block if whole else 0, len(self.order.gallery), side)
            for row in range(
                block, min(block + block_size, last, column + 1 if whole else last), side
            )
        ][self.process_group.rank :: self.process_group.size]
        # counting by torch is not made for several threads: its operations divide their own work
        at_once = TILES_PER_THREAD * torch.get_num_threads() if self.products.scorer.compiled else 1
        for start in range(0, len(tiles), at_once):
            part = tiles[start : start + at_once]
            with full_float32_products(self.products.rows.device):
                threads.each(lambda tile: self._count(tile, positives, first), part)
            yield (start + len(part)) / len(tiles)

    def _count(self, tile: _Tile, positives: QueryPositives, first: int) -> None:
        """Count a tile, and its transpose; change to float64 where float32 is too coarse.

        Too coarse: more than MAX_RESCORED_FRACTION of the scores were computed again.
        """
        dtype, error_bounds = self.precision
        row, column = tile.row, tile.column
        queries = self.operand(tile.block_begin, tile.block_end, dtype, True)
        queries = queries[row - tile.block_begin :][: self.side]
        gallery = self.operand(column, column + self.side, dtype, False)
        args = positives, error_bounds[first:], self.products.scorer
        with self._tile_memory((len(queries), len(gallery)), dtype) as scores:
            torch.mm(queries, gallery.T, out=scores)
            if self.negatives.numel():
                exclude(scores, pairs_from(self.negatives, row, row + len(scores)), row, column)
            n_rescored = count_tile(scores, row - first, column, *args)
            if tile.both_ways:
                n_rescored += count_transposed(scores, row - first, column, *args)
            n_scores = scores.numel()
        if dtype == torch.float32 and n_rescored > MAX_RESCORED_FRACTION * n_scores:
            self.precision = self._precision(torch.float64)

    def add_over_processes(self, positives: QueryPositives) -> None:
        """Sum the counts of all processes; each has found all scores of positives by itself."""
        self.process_group.add(positives.increments)
        if positives.tied is not None:
            self.process_group.add(positives.tied)
