"""How many rows of other classes are closer to a query than each row of its own: exact, by tiles.

With that, the rank of every row of a query's class is known, and so is every retrieval score;
no list of neighbours is kept, and nothing is sorted but the scores within a class.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vmf_embeddings.search.by_class import ByClass
from vmf_embeddings.search.counting import Referee, count_tile, count_turned
from vmf_embeddings.search.exact import METRICS, Similarity, first_identical_row
from vmf_embeddings.search.products import Products
from vmf_embeddings.search.slots import Slots, empty_slots

MOST_SLOTS = 2**24  # held at once: 16 bytes each
MOST_COUNTS = 2**20  # yielded at once
MOST_SCORES = 2**22  # of a similarity, held at once: 32 MiB
TILE = 768  # a side: the tile stays in a processor's second cache
CROWDED_TILE = 1920  # where lines are sorted: fewer and longer ones, in buffers that malloc reuses
STRIP = 4  # tiles in turn that share their rows
# a share of rounded scores that had to be looked at again, from which float64 products are faster
MOST_CHECKS = 0.05
CROWDED = 128  # slots of a query from which some score always lies close to one: float64 at once

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


def rows_before(
    rows: Tensor,
    order: ByClass,
    *,
    metric: str | None = None,
    similarity: Similarity | None = None,
    best_only: bool = False,
    process_group: ProcessGroup | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[int, int, Tensor]]:
    """For each row of a query's class, how many rows of other classes come before it.

    Rows come before others by (score descending, row number ascending), the score being that of
    float64. By inner product or distance on the processor, tiles of scores are float32, and what
    its rounding could change is scored again.

    Args:
        rows: [N, D], projected.
        order: queries and gallery by class.
        metric: "ip" or "l2".
        similarity: takes [Q, D] and [G, D] in float64, gives [Q, G]; used where `metric` is None.
        best_only: count for the nearest row of the class only.
        process_group: processes that divide the work; each gets the complete result.
        progress: told the share of the work done, in (0, 1].

    Yields:
        First query and the query behind the last (of `order.queries`), whose classes are equally
        large, and counts [last - first, n], ascending along a line; n is 1 if `best_only`,
        otherwise the number of gallery rows of the class. There a query that is in the gallery
        stands first itself, with count 0.
    """
    process_group = process_group or SingleProcess()
    tell = progress or (lambda done: None)
    work: _Tiles | _Lines
    if metric is not None and not rows.is_cuda:
        work = _Tiles(Products(rows, metric), order, process_group)
    else:
        work = _Lines(rows, similarity or METRICS[str(metric)], order, process_group)
    blocks = list(_blocks(order, work.most_lines(), best_only))
    for number, (first, last) in enumerate(blocks):
        slots = empty_slots(order, first, last, best_only=best_only, device=rows.device)
        for done in work.count(slots, first, last):
            tell((number + done) / len(blocks))
        process_group.add(slots.count)
        for begin, end, size in slots.runs(0, last - first):
            for start in range(begin, end, step := max(1, MOST_COUNTS // size)):
                stop = min(start + step, end)
                yield first + start, first + stop, slots.of(slots.count, start, stop).cumsum(1)


def _blocks(order: ByClass, most_lines: int, best_only: bool) -> Iterator[tuple[int, int]]:
    """Ranges of queries with no more than `most_lines` queries and MOST_SLOTS slots."""
    sizes = order.n_slots.clamp_max(1) if best_only else order.n_slots
    ends = sizes.cumsum(0)
    first = 0
    while first < len(ends):
        limit = int(ends[first] - sizes[first]) + MOST_SLOTS
        last = int(torch.searchsorted(ends, limit, right=True))
        last = min(max(last, first + 1), first + most_lines)
        yield first, last
        first = last


class _Tiles:
    """Counts by tiles of products; where queries and gallery are the same, of their upper half."""

    def __init__(self, products: Products, order: ByClass, process_group: ProcessGroup) -> None:
        self.products, self.order, self.process_group = products, order, process_group
        crowded = len(order.n_slots) > 0 and float(order.n_slots.double().mean()) > CROWDED
        self.dtype = torch.float64 if crowded else products.start_dtype()
        self.side, self.in_turn = (CROWDED_TILE, 1) if crowded else (TILE, STRIP)
        self.margins = products.margins(order, self.dtype)
        self.strips: list[tuple] = [((), torch.empty(0))] * 2
        self.room = torch.empty(self.side**2, dtype=torch.float64)

    def most_lines(self) -> int:
        return len(self.order.queries)

    def _strip(self, numbers: Tensor, *, asks: bool) -> Tensor:
        """Rows for a product; the last ones of either side are kept."""
        key = int(numbers[0]), len(numbers), self.dtype
        if self.strips[asks][0] != key:
            strip = self.products.strip(numbers, self.dtype, asks=asks)
            self.strips[asks] = key, strip
        return self.strips[asks][1]

    def _room(self, n_lines: int, n_columns: int) -> Tensor:
        """A tile's memory, used over and over: fresh pages would cost a tenth of the product."""
        room = self.room.view(self.dtype)
        return room[: n_lines * n_columns].view(n_lines, n_columns)

    def count(self, slots: Slots, first: int, last: int) -> Iterator[float]:
        """Count for the queries from `first` to `last`, and tell the share done now and then."""
        self.products.fill(slots, self.order.own[first:last])
        whole = last - first == len(self.order.queries) and self.order.symmetric
        side, strip = self.side, self.side * self.in_turn
        places = [
            (row, column)
            for block in range(first, last, strip)
            for column in range(block if whole else 0, len(self.order.gallery), side)
            for row in range(block, min(block + strip, last, column + 1 if whole else last), side)
        ][self.process_group.rank :: self.process_group.size]
        for number, (row, column) in enumerate(places, 1):
            block = first + (row - first) // strip * strip
            asking = self._strip(self.order.queries[block : min(block + strip, last)], asks=True)
            asking = asking[row - block :][:side]
            other = self._strip(self.order.gallery[column : column + side], asks=False)
            tile = self._room(len(asking), len(other))
            torch.mm(asking, other.T, out=tile)
            self._count(tile, row - first, column, slots, first, both=whole and column > row)
            yield number / len(places)

    def _count(
        self, tile: Tensor, row: int, column: int, slots: Slots, first: int, *, both: bool
    ) -> None:
        margins = self.margins[first:]
        args = slots, margins, self.products.referee
        checks = count_tile(tile, row, column, *args)
        if both:
            checks += count_turned(tile, row, column, *args)
        if self.dtype == torch.float32 and checks > MOST_CHECKS * tile.numel():
            self.dtype = torch.float64
            self.margins = self.products.margins(self.order, self.dtype)


class _Lines:
    """Counts by whole lines of a similarity in float64, on any device."""

    def __init__(
        self, rows: Tensor, similarity: Similarity, order: ByClass, process_group: ProcessGroup
    ) -> None:
        self.rows, self.similarity, self.order, self.process_group = (
            rows,
            similarity,
            order,
            process_group,
        )
        self.gallery = rows[order.gallery.to(rows.device)].double()
        self.copies = first_identical_row(self.gallery)
        referee = torch.arange(len(rows))
        if self.copies is not None:
            referee[order.gallery] = order.gallery[self.copies.cpu()]
        self.referee = Referee(referee)

    def most_lines(self) -> int:
        return self.process_group.size * max(1, MOST_SCORES // len(self.gallery))

    def count(self, slots: Slots, first: int, last: int) -> Iterator[float]:
        """Count for this process's share of the queries from `first` to `last`."""
        n, rank = self.process_group.size, self.process_group.rank
        begin, end = (last - first) * rank // n, (last - first) * (rank + 1) // n
        if begin < end:
            queries = self.rows[slots.queries[begin:end].to(self.rows.device)].double()
            scores = self.similarity(queries, self.gallery)
            if self.copies is not None:
                scores = scores[:, self.copies]
            own = self.order.own[first:last]
            for run, stop, size in slots.runs(begin, end):
                low = slots.low[run:stop]
                columns = (low[:, None] + torch.arange(size)).to(scores.device)
                mine = scores[run - begin : stop - begin].gather(1, columns)
                place = torch.where(own[run:stop] >= 0, own[run:stop] - low, -1)
                slots.fill(run, stop, mine, place)
            margin = torch.zeros(last - first, dtype=torch.float64)
            count_tile(scores.contiguous(), begin, 0, slots, margin, self.referee)
        yield 1.0
