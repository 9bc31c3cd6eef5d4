"""Counts how many rows of other classes come before each slot, from a tile of scores.

A score that lies within its rounding error of a threshold decides nothing: such pairs are scored
again in float64, and equal scores are ordered by row number.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings import native
from vmf_embeddings.search.slots import Slots

MANY = 32  # slots of a query above which sorting its scores is faster than a pass for every slot
PAIRS_AT_ONCE = 2**22  # numbers held while pairs are scored again
LEAST_LINES = 128  # of a tile, for a thread to pay


@dataclass(frozen=True)
class Referee:
    """What decides between scores that lie too close.

    Args:
        copies: [N] lowest number of a row that equals each; equal rows tie, whatever was rounded.
        rows: [N, D] what is compared, by row number; None where a tile's scores are exact.
        squared: whether they compare by distance instead of inner product.
    """

    copies: Tensor
    rows: Tensor | None = None
    squared: bool = False

    def score(self, left: Tensor, right: Tensor) -> Tensor:
        """Exact scores [P] of pairs of row numbers: x.y, or -|x - y|^2 / 2, in float64."""
        assert self.rows is not None
        out = torch.empty(len(left), dtype=torch.float64, device=self.rows.device)
        if native.enabled():
            from vmf_embeddings.search.kernels.pairs import score_pairs

            arrays = [x.numpy() for x in (left, right, out)]
            rows = self.rows.numpy()
            native.in_threads(
                lambda begin, end: score_pairs(rows, self.squared, *arrays, begin, end),
                len(left), LEAST_LINES,
            )  # fmt: skip
            return out
        step = max(1, PAIRS_AT_ONCE // self.rows.shape[1])
        for begin in range(0, len(left), step):
            part = slice(begin, begin + step)
            x, y = self.rows[left[part]].double(), self.rows[right[part]].double()
            out[part] = -(x - y).square().sum(1) / 2 if self.squared else (x * y).sum(1)
        return out


def count_tile(
    tile: Tensor, row: int, column: int, slots: Slots, margin: Tensor, referee: Referee
) -> int:
    """Add a tile to the counts of the slots; rows of a query's own class are left out.

    Args:
        tile: [I, J] scores of query `row` + i (of the slots) and gallery row `column` + j; it may
            be overwritten.
        row: query of line 0.
        column: gallery row of column 0.
        slots: where to count.
        margin: [Q] float64, how far a score of the tile may be from the exact one.
        referee: for scores closer than that.

    Returns:
        How many times two scores lay too close.
    """
    if native.enabled() and not tile.is_cuda:
        return _count_natively(tile, row, column, slots, margin, referee)
    _mask_own_class(tile, row, column, slots)
    return sum(
        _count_run(tile[first - row : last - row], first, last, column, slots, margin, referee)
        for first, last, _ in slots.runs(row, row + len(tile))
    )


def _mask_own_class(tile: Tensor, row: int, column: int, slots: Slots) -> None:
    low, high = slots.low[row : row + len(tile)], slots.high[row : row + len(tile)]
    if low.min() < column + tile.shape[1] and high.max() > column:
        columns = torch.arange(column, column + tile.shape[1], device=tile.device)
        low, high = low[:, None].to(tile.device), high[:, None].to(tile.device)
        tile.masked_fill_((columns >= low) & (columns < high), -torch.inf)


def turned(tile: Tensor) -> Tensor:
    """The transpose [J, I] of a tile, laid out as `count_tile` reads it fastest."""
    if not native.enabled() or tile.is_cuda:
        return tile.T
    from vmf_embeddings.search.kernels.counting import transposed

    out = tile.new_empty(tile.T.shape)
    lines, columns = tile.numpy(), out.numpy()
    native.in_threads(
        lambda begin, end: transposed(lines, columns, begin, end), len(out), LEAST_LINES
    )
    return out


def _count_natively(
    tile: Tensor, row: int, column: int, slots: Slots, margin: Tensor, referee: Referee
) -> int:
    from vmf_embeddings.search.kernels.counting import count
    from vmf_embeddings.search.kernels.ordered import count_ordered

    wanted, judge = _for_kernel(tile, slots, margin, referee)
    lines = tile.numpy()
    if slots.most(row, row + len(tile)) <= MANY:
        return sum(
            native.in_threads(
                lambda begin, end: count(lines, row, column, wanted, judge, begin, end),
                len(lines), LEAST_LINES,
            )
        )  # fmt: skip

    def share(begin: int, end: int) -> int:
        n_checks = 0
        for top in range(begin, end, LEAST_LINES):
            part = tile[top : min(top + LEAST_LINES, end)]
            ordered = part.clone()
            _mask_own_class(ordered, row + top, column, slots)
            ordered.numpy().sort(axis=1)
            arrays = part.numpy(), ordered.numpy()
            n_checks += count_ordered(*arrays, row + top, column, wanted, judge)
        return n_checks

    return sum(native.in_threads(share, len(lines), LEAST_LINES))


def count_turned(
    tile: Tensor, row: int, column: int, slots: Slots, margin: Tensor, referee: Referee
) -> int:
    """`count_tile` of the transpose: lines are gallery rows `row` + i, columns are queries."""
    compiled = native.enabled() and not tile.is_cuda
    few = slots.most(column, column + tile.shape[1]) <= MANY
    apart = row + len(tile) <= int(slots.low[column])  # the queries' classes begin behind the lines
    if not (compiled and few and apart):
        return count_tile(turned(tile), column, row, slots, margin, referee)
    from vmf_embeddings.search.kernels.counting import count_columns

    return count_columns(tile.numpy(), row, column, *_for_kernel(tile, slots, margin, referee))


def _for_kernel(tile: Tensor, slots: Slots, margin: Tensor, referee: Referee) -> tuple:
    from vmf_embeddings.search.kernels import pairs as kernel

    wanted = kernel.Wanted(
        *(getattr(slots, name).numpy() for name in kernel.Wanted._fields[:-1]), margin.numpy()
    )
    rows = tile[:0] if referee.rows is None else referee.rows
    return wanted, kernel.Judge(
        referee.rows is None, referee.squared, rows.numpy(), referee.copies.numpy()
    )


def _count_run(
    tile: Tensor, first: int, last: int, column: int, slots: Slots, margin: Tensor, referee: Referee
) -> int:
    """The same for queries with equally many slots, whose own class is masked."""
    threshold = slots.of(slots.threshold, first, last)
    if referee.rows is None and threshold.shape[1] <= MANY:
        return _count_exact(tile, first, last, column, slots)
    slack = margin[first:last, None].to(tile.device)
    low, high = (threshold - slack).to(tile.dtype), (threshold + slack).to(tile.dtype)
    above, near = _exceeding(tile, low, high)
    unsure = (near > above).nonzero()
    n_checks = 0
    step = max(1, PAIRS_AT_ONCE // tile.shape[1])
    for lines, slot in (part.unbind(1) for part in unsure.split(step)):
        scores = tile[lines]
        close = (scores >= low[lines, slot, None]) & (scores <= high[lines, slot, None])
        which, columns = close.nonzero().unbind(1)
        lines, slot = lines[which], slot[which]
        before = _come_before(
            tile[lines, columns], first + lines, column + columns, slot,
            slots.of(slots.place, first, last)[lines, slot], threshold[lines, slot], slots, referee,
        )  # fmt: skip
        above.index_put_((lines, slot), before.to(above.dtype), accumulate=True)
        n_checks += len(which)
    counts = slots.of(slots.count, first, last)
    counts.add_(above.diff(dim=1, prepend=above.new_zeros(len(above), 1)))
    return n_checks


def _count_exact(tile: Tensor, first: int, last: int, column: int, slots: Slots) -> int:
    """The same where the tile's scores are exact, without a word from the device to the host."""
    threshold = slots.of(slots.threshold, first, last)
    gallery = slots.gallery.to(tile.device)
    low = slots.low[first:last, None].to(tile.device)
    positive = gallery[low + slots.of(slots.place, first, last)]
    other = gallery[column : column + tile.shape[1]]
    previous = torch.zeros(len(tile), dtype=torch.int64, device=tile.device)
    counts = slots.of(slots.count, first, last)
    for k in range(threshold.shape[1]):
        limit = threshold[:, k, None]
        before = (tile > limit) | ((tile == limit) & (other < positive[:, k, None]))
        found = before.sum(1)
        counts[:, k] += found - previous
        previous = found
    return 0


def _exceeding(tile: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """How many scores of each line [I, J] exceed `high` and how many reach `low`, both [I, K]."""
    n_slots = low.shape[1]
    if n_slots > MANY:
        lines = tile.contiguous()
        ordered = lines.sort(1).values if tile.is_cuda else torch.from_numpy(np.sort(lines.numpy()))
        above = tile.shape[1] - torch.searchsorted(ordered, high.contiguous(), right=True)
        return above, tile.shape[1] - torch.searchsorted(ordered, low.contiguous())
    above = torch.empty(low.shape, dtype=torch.int64, device=tile.device)
    near, found = torch.empty_like(above), torch.empty_like(tile)
    ones = tile.new_ones(tile.shape[1])
    for k in range(n_slots):  # a float sum of 0 and 1 is exact and several times faster than bool's
        above[:, k] = torch.gt(tile, high[:, k, None], out=found) @ ones
        near[:, k] = torch.ge(tile, low[:, k, None], out=found) @ ones
    return above, near


def _come_before(
    fast: Tensor, queries: Tensor, columns: Tensor, slot: Tensor, place: Tensor,
    threshold: Tensor, slots: Slots, referee: Referee,
) -> Tensor:  # fmt: skip
    """Whether gallery rows [P] come before the rows of slots [P]."""
    columns, queries = columns.cpu(), queries.cpu()
    other = slots.gallery[columns]
    positive = slots.gallery[slots.low[queries] + place.cpu()]
    exact = fast.double() if referee.rows is None else referee.score(slots.queries[queries], other)
    exact, threshold = exact.cpu(), threshold.cpu()
    tie = (exact == threshold) | (referee.copies[other] == referee.copies[positive])
    return ((exact > threshold) & ~tie | tie & (other < positive)).to(fast.device)
