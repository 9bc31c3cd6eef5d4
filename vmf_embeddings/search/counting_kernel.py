"""Machine code that counts how many rows come before each slot, and scores pairs; imports Numba."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vmf_embeddings import native

LINES = 8  # that are counted together, column by column
BLOCK = 16  # lines and columns that are transposed together
_FREE = {"contract", "reassoc", "nsz"}  # sums in any order; infinities stay

Floats = NDArray[np.floating]
Numbers = NDArray[np.int64]
Counts = NDArray[np.int32]


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
def _exceeding(scores: Floats, low: float, high: float) -> tuple[int, int]:
    """How many scores reach `low` and how many exceed `high`; both have the scores' type."""
    near, above = np.float32(0), np.float32(0)  # exact below 2^24
    for j in range(len(scores)):
        near += np.float32(1) if scores[j] >= low else np.float32(0)
        above += np.float32(1) if scores[j] > high else np.float32(0)
    return int(near), int(above)


@native.compiled()
def _add(wanted: Wanted, query: int, slot: int, found: int) -> None:
    """Add what comes before a slot to it and take it from the next: counts are differences."""
    wanted.count[slot] += found
    if slot + 1 < wanted.first[query + 1]:
        wanted.count[slot + 1] -= found


@native.compiled()
def _sweep(
    judge: Judge, wanted: Wanted, scores: Floats, query: int, column: int, bounds: Floats
) -> int:
    """Count part of a line for each slot, the last first; returns how many scores were close."""
    n_checks = 0
    for slot in range(wanted.first[query + 1] - 1, wanted.first[query] - 1, -1):
        if np.isinf(wanted.threshold[slot]):
            continue
        bounds[0] = wanted.threshold[slot] - wanted.margin[query]
        bounds[1] = wanted.threshold[slot] + wanted.margin[query]
        near, found = _exceeding(scores, bounds[0], bounds[1])
        if near == 0:
            break  # nor does anything reach the higher thresholds
        if near > found:
            for j in range(len(scores)):
                if bounds[0] <= scores[j] <= bounds[1]:
                    n_checks += 1
                    found += _comes_before(judge, wanted, scores[j], query, column + j, slot)
        _add(wanted, query, slot, found)
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
    bounds = np.empty(2, tile.dtype)
    for i in range(begin, end):
        query = row + i
        left = min(max(wanted.low[query] - column, 0), n_columns)
        right = min(max(wanted.high[query] - column, 0), n_columns)
        n_checks += _sweep(judge, wanted, tile[i, :left], query, column, bounds)
        n_checks += _sweep(judge, wanted, tile[i, right:], query, column + right, bounds)
    return n_checks


@native.compiled(fastmath=_FREE)
def _exceeding_columns(
    tile: Floats, low: Floats, high: Floats, near: Counts, above: Counts
) -> None:
    """`_exceeding` for every column [J] of a tile [I, J] and several limits [K, J], added up."""
    one, none = np.int32(1), np.int32(0)
    whole = tile.shape[0] // LINES * LINES
    for i in range(0, whole, LINES):
        a, b, c, d = tile[i], tile[i + 1], tile[i + 2], tile[i + 3]
        e, f, g, h = tile[i + 4], tile[i + 5], tile[i + 6], tile[i + 7]
        for k in range(len(low)):
            limit, n = low[k], near[k]
            for j in range(len(limit)):
                n[j] += (
                    (one if a[j] >= limit[j] else none) + (one if b[j] >= limit[j] else none)
                    + (one if c[j] >= limit[j] else none) + (one if d[j] >= limit[j] else none)
                    + (one if e[j] >= limit[j] else none) + (one if f[j] >= limit[j] else none)
                    + (one if g[j] >= limit[j] else none) + (one if h[j] >= limit[j] else none)
                )  # fmt: skip
            limit, n = high[k], above[k]
            for j in range(len(limit)):
                n[j] += (
                    (one if a[j] > limit[j] else none) + (one if b[j] > limit[j] else none)
                    + (one if c[j] > limit[j] else none) + (one if d[j] > limit[j] else none)
                    + (one if e[j] > limit[j] else none) + (one if f[j] > limit[j] else none)
                    + (one if g[j] > limit[j] else none) + (one if h[j] > limit[j] else none)
                )  # fmt: skip
    for i in range(whole, tile.shape[0]):
        for k in range(len(low)):
            for j in range(tile.shape[1]):
                near[k, j] += one if tile[i, j] >= low[k, j] else none
                above[k, j] += one if tile[i, j] > high[k, j] else none


@native.compiled()
def count_columns(tile: Floats, row: int, column: int, wanted: Wanted, judge: Judge) -> int:
    """`count` of the transpose: columns are queries, lines gallery rows of other classes.

    Args:
        tile: [I, J] scores of gallery row `row` + i and query `column` + j.
        row: gallery row of line 0.
        column: query of column 0.
        wanted: where to count.
        judge: for scores that are too close.

    Returns:
        How many times two scores were too close.
    """
    n_columns = tile.shape[1]
    first = wanted.first[column : column + n_columns + 1]
    n_slots = np.diff(first).max()
    low = np.full((n_slots, n_columns), np.inf, tile.dtype)
    high = low.copy()
    for j in range(n_columns):
        slack = wanted.margin[column + j]
        for slot in range(first[j], first[j + 1]):
            if not np.isinf(wanted.threshold[slot]):
                low[slot - first[j], j] = wanted.threshold[slot] - slack
                high[slot - first[j], j] = wanted.threshold[slot] + slack
    near, above = np.zeros(low.shape, np.int32), np.zeros(low.shape, np.int32)
    _exceeding_columns(tile, low, high, near, above)
    n_checks = 0
    for k in range(n_slots):
        for j in range(n_columns):
            slot, found = first[j] + k, above[k, j]
            if near[k, j] > found:
                for i in range(len(tile)):
                    if low[k, j] <= tile[i, j] <= high[k, j]:
                        n_checks += 1
                        found += _comes_before(judge, wanted, tile[i, j], column + j, row + i, slot)
            if found > 0:
                _add(wanted, column + j, slot, found)
    return n_checks


@native.compiled()
def _merge(scores: Floats, limits: Floats, above: Counts, n_steps: int) -> None:
    """How many of descending scores exceed each of descending limits, four lines at a time.

    There is no branch to predict, and while one line waits for memory the others go on. Behind the
    last score stands -inf, behind the last limit inf; `above` has room for that.
    """
    s0, s1, s2, s3 = scores[0], scores[1], scores[2], scores[3]
    l0, l1, l2, l3 = limits[0], limits[1], limits[2], limits[3]
    a0, a1, a2, a3 = above[0], above[1], above[2], above[3]
    n0 = n1 = n2 = n3 = k0 = k1 = k2 = k3 = 0
    for _ in range(n_steps):
        a0[k0], a1[k1], a2[k2], a3[k3] = n0, n1, n2, n3
        e0, e1 = np.int64(s0[n0] > l0[k0]), np.int64(s1[n1] > l1[k1])
        e2, e3 = np.int64(s2[n2] > l2[k2]), np.int64(s3[n3] > l3[k3])
        n0, n1, n2, n3 = n0 + e0, n1 + e1, n2 + e2, n3 + e3
        k0, k1, k2, k3 = k0 + 1 - e0, k1 + 1 - e1, k2 + 1 - e2, k3 + 1 - e3


@native.compiled()
def _resolve(
    judge: Judge, wanted: Wanted, line: Floats, ordered: Floats, query: int, column: int,
    above: Counts,
) -> int:  # fmt: skip
    """Add what exceeds each limit of a line, and what is too close if it comes before."""
    n_checks, before, n_columns = 0, 0, len(line)
    first, last, slack = wanted.first[query], wanted.first[query + 1], wanted.margin[query]
    thresholds, counts = wanted.threshold[first:last], wanted.count[first:last]
    for k in range(last - first):
        found, limit = np.int64(above[k]), thresholds[k]
        if ordered[found] >= limit - slack:
            for j in range(n_columns):
                own = wanted.low[query] <= column + j < wanted.high[query]
                if limit - slack <= line[j] <= limit + slack and not own:
                    n_checks += 1
                    found += _comes_before(judge, wanted, line[j], query, column + j, first + k)
        counts[k] += found - before
        before = found
    return n_checks


@native.compiled()
def count_ordered(
    tile: Floats, ordered: Floats, row: int, column: int, wanted: Wanted, judge: Judge,
    begin: int, end: int,
) -> int:  # fmt: skip
    """`count` for queries with many slots: each line of scores comes sorted as well.

    Args:
        tile: [I, J] as for `count`.
        ordered: the same, rows of the query's own class at -inf, each line ascending.
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
    n_slots = np.diff(wanted.first[row + begin : row + end + 1]).max()
    scores = np.full((4, n_columns + 1), -np.inf)
    limits = np.full((4, n_slots + n_columns + 1), np.inf)
    above = np.zeros(limits.shape, np.int32)
    for top in range(begin, end, 4):
        lines = min(4, end - top)
        for i in range(lines):
            query = row + top + i
            first, last = wanted.first[query], wanted.first[query + 1]
            scores[i, :n_columns] = ordered[top + i, ::-1]
            limits[i, : last - first] = wanted.threshold[first:last] + wanted.margin[query]
            limits[i, last - first : n_slots] = np.inf
        _merge(scores, limits, above, n_slots + n_columns)
        for i in range(lines):
            query = row + top + i
            n_checks += _resolve(judge, wanted, tile[top + i], scores[i], query, column, above[i])
    return n_checks
