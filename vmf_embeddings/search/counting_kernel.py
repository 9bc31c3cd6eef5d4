"""Machine code that counts how many rows come before each slot, and scores pairs; imports Numba."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vmf_embeddings import native

FEW = 24  # up to so many slots, a pass for each may be faster than a table
DENSE = 8  # one score in so many reaches the lowest threshold: then passes are
CHUNK = 64
BLOCK = 16  # lines and columns that are transposed together
_FREE = {"contract", "reassoc", "nsz"}  # sums in any order; infinities stay

Floats = NDArray[np.floating]
Numbers = NDArray[np.int64]


class Wanted(NamedTuple):
    """The arrays of `Slots`, and how far a fast score [Q] may be from the exact one."""

    first: Numbers
    low: Numbers
    high: Numbers
    queries: Numbers
    gallery: Numbers
    threshold: Floats
    place: NDArray[np.int32]
    count: NDArray[np.int32]
    margin: Floats


class Judge(NamedTuple):
    """What decides between scores that lie too close: see `Referee`."""

    proved: bool
    squared: bool
    rows: Floats
    copies: Numbers


@native.compiled(fastmath=_FREE)
def score(rows: Floats, squared: bool, i: int, j: int) -> float:
    """Inner product of two rows, or minus half their squared distance, in float64."""
    total = 0.0
    if squared:
        for d in range(rows.shape[1]):
            difference = np.float64(rows[i, d]) - np.float64(rows[j, d])
            total -= difference * difference
        return total / 2
    for d in range(rows.shape[1]):
        total += np.float64(rows[i, d]) * np.float64(rows[j, d])
    return total


@native.compiled()
def score_pairs(
    rows: Floats, squared: bool, left: Numbers, right: Numbers, out: Floats, begin: int, end: int
) -> None:
    """Scores of the pairs from `begin` to `end`."""
    for pair in range(begin, end):
        out[pair] = score(rows, squared, left[pair], right[pair])


@native.compiled()
def transposed(tile: Floats, out: Floats, begin: int, end: int) -> None:
    """Copy the columns from `begin` to `end` of a tile [I, J] into lines of `out` [J, I]."""
    for j in range(begin, end, BLOCK):
        for i in range(0, tile.shape[0], BLOCK):
            old, new = tile[i : i + BLOCK, j : min(j + BLOCK, end)], out[j : j + BLOCK]
            new = new[: old.shape[1], i : i + BLOCK]
            if old.shape == (BLOCK, BLOCK):  # constant bounds: the compiler unrolls them
                for column in range(BLOCK):
                    for line in range(BLOCK):
                        new[column, line] = old[line, column]
            else:
                for column in range(old.shape[1]):
                    for line in range(old.shape[0]):
                        new[column, line] = old[line, column]


@native.compiled()
def _comes_before(
    judge: Judge, wanted: Wanted, fast: float, query: int, column: int, slot: int
) -> bool:
    """Whether the gallery row of a column comes before the row of a slot."""
    other = wanted.gallery[column]
    positive = wanted.gallery[wanted.low[query] + wanted.place[slot]]
    if judge.copies[other] != judge.copies[positive]:
        exact = fast
        if not judge.proved:
            exact = score(judge.rows, judge.squared, wanted.queries[query], other)
        if exact != wanted.threshold[slot]:
            return exact > wanted.threshold[slot]
    return other < positive


@native.compiled(fastmath=_FREE)
def _near(scores: Floats, limit: float, found: NDArray[np.int32]) -> int:
    """Collect where scores reach a limit of their type; returns how many do."""
    n_found, n_whole = 0, len(scores) - len(scores) % CHUNK
    for begin in range(0, n_whole, CHUNK):
        near = np.float32(0)  # a count in float32 takes the lanes of the comparison
        for j in range(CHUNK):
            near += np.float32(1) if scores[begin + j] >= limit else np.float32(0)
        if near > 0:
            for j in range(begin, begin + CHUNK):
                found[n_found] = j
                n_found += scores[j] >= limit
    for j in range(n_whole, len(scores)):
        found[n_found] = j
        n_found += scores[j] >= limit
    return n_found


@native.compiled(fastmath=_FREE)
def _exceeding(scores: Floats, low: float, high: float) -> tuple[int, int]:
    """How many scores reach `low` and how many exceed `high`; both have the scores' type."""
    near, above = np.float32(0), np.float32(0)  # exact below 2^24
    for j in range(len(scores)):
        near += np.float32(1) if scores[j] >= low else np.float32(0)
        above += np.float32(1) if scores[j] > high else np.float32(0)
    return int(near), int(above)


@native.compiled()
def _sweep(
    judge: Judge, wanted: Wanted, scores: Floats, query: int, column: int, bounds: Floats
) -> int:
    """Count the scores of a line for each slot in turn; returns how many scores were too close."""
    n_checks = previous = 0
    for slot in range(wanted.first[query], wanted.first[query + 1]):
        if np.isinf(wanted.threshold[slot]):
            continue
        bounds[0] = wanted.threshold[slot] - wanted.margin[query]
        bounds[1] = wanted.threshold[slot] + wanted.margin[query]
        near, found = _exceeding(scores, bounds[0], bounds[1])
        if near > found:
            for j in range(len(scores)):
                if bounds[0] <= scores[j] <= bounds[1]:
                    n_checks += 1
                    found += _comes_before(judge, wanted, scores[j], query, column + j, slot)
        wanted.count[slot] += found - previous
        previous = found
    return n_checks


@native.compiled()
def _tabulate(thresholds: Floats, table: NDArray[np.int32]) -> float:
    """Cut the thresholds' range into equal bins and note where each bin's thresholds begin.

    A binary search mispredicts every other branch; with a table it takes a quarter of the time.

    Args:
        thresholds: [n], descending.
        table: [n_bins + 1], written.

    Returns:
        Bins per unit of score.
    """
    n_bins = len(table) - 1
    width = thresholds[0] - thresholds[-1]
    scale = (n_bins - 1) / width if width > 0 else 0.0
    filled = 0
    for k in range(len(thresholds)):
        place = int((thresholds[0] - thresholds[k]) * scale)
        while filled <= place:
            table[filled] = k
            filled += 1
    table[filled:] = len(thresholds)
    return scale


@native.compiled()
def _first_not_above(
    thresholds: Floats, table: NDArray[np.int32], scale: float, limit: float
) -> int:
    """Where the first of descending thresholds stands that does not exceed the limit."""
    if limit >= thresholds[0]:
        return 0
    place = min((thresholds[0] - limit) * scale, len(table) - 1.0)
    k = table[int(place)]
    while k < len(thresholds) and thresholds[k] > limit:
        k += 1
    return k


@native.compiled()
def _count_scores(
    judge: Judge, wanted: Wanted, scores: Floats, query: int, column: int, first: int,
    table: NDArray[np.int32], scale: float, found: NDArray[np.int32], bounds: Floats,
) -> int:  # fmt: skip
    """Count a part of a line, from the slot `first` on; returns how many were too close."""
    last, slack = wanted.first[query + 1], wanted.margin[query]
    thresholds, counts = wanted.threshold[first:last], wanted.count[first:last]
    bounds[0] = thresholds[-1] - slack
    n_found = _near(scores, bounds[0], found)
    if len(thresholds) <= FEW and n_found * DENSE > len(scores):
        return _sweep(judge, wanted, scores, query, column, bounds)
    n_checks = 0
    for j in found[:n_found]:
        value = np.float64(scores[j])
        k = _first_not_above(thresholds, table, scale, value + slack)
        while k < len(thresholds) and thresholds[k] >= value - slack:
            n_checks += 1
            if _comes_before(judge, wanted, value, query, column + j, first + k):
                break
            k += 1
        if k < len(thresholds):
            counts[k] += 1
    return n_checks


@native.compiled()
def count(
    tile: Floats, row: int, column: int, wanted: Wanted, judge: Judge, begin: int, end: int
) -> int:
    """Add lines of a tile to the counts of their queries, rows of the own class left out.

    Args:
        tile: [I, J] scores of query `row` + i and gallery row `column` + j.
        row: query of line 0.
        column: gallery row of column 0.
        wanted: where to count.
        judge: for scores that are too close.
        begin: first line.
        end: behind the last.

    Returns:
        How many times two scores were too close.
    """
    n_checks, n_columns = 0, tile.shape[1]
    bounds, found = np.empty(2, tile.dtype), np.empty(n_columns + 1, np.int32)
    for i in range(begin, end):
        query = row + i
        first, last = wanted.first[query], wanted.first[query + 1]
        if first < last and np.isinf(wanted.threshold[first]):
            first += 1  # nothing comes before the query itself
        if first == last:
            continue
        table = np.empty(2 * (last - first) + 1, np.int32)
        scale = _tabulate(wanted.threshold[first:last], table)
        left = min(max(wanted.low[query] - column, 0), n_columns)
        right = min(max(wanted.high[query] - column, 0), n_columns)
        n_checks += _count_scores(
            judge, wanted, tile[i, :left], query, column, first, table, scale, found, bounds
        )
        n_checks += _count_scores(
            judge,
            wanted,
            tile[i, right:],
            query,
            column + right,
            first,
            table,
            scale,
            found,
            bounds,
        )
    return n_checks
