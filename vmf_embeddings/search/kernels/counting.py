"""Machine code that counts how many rows come before each of a few slots; imports Numba."""

import numpy as np

from vmf_embeddings import native
from vmf_embeddings.search.kernels.pairs import (
    Counts,
    Floats,
    Judge,
    Wanted,
    add,
    comes_before,
)

LINES = 8  # that are counted together, column by column
BLOCK = 16  # lines and columns that are transposed together
_FREE = {"contract", "reassoc", "nsz"}  # sums in any order; infinities stay


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
                    found += comes_before(judge, wanted, scores[j], query, column + j, slot)
        add(wanted, query, slot, found)
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
def _limits(wanted: Wanted, column: int, tile: Floats) -> tuple[Floats, Floats]:
    """What scores must reach and exceed for slot k of query `column` + j, both [K, J]."""
    n_columns = tile.shape[1]
    first = wanted.first[column : column + n_columns + 1]
    low = np.full((np.diff(first).max(), n_columns), np.inf, tile.dtype)
    high = low.copy()
    for j in range(n_columns):
        slack = wanted.margin[column + j]
        for slot in range(first[j], first[j + 1]):
            if not np.isinf(wanted.threshold[slot]):
                low[slot - first[j], j] = wanted.threshold[slot] - slack
                high[slot - first[j], j] = wanted.threshold[slot] + slack
    return low, high


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
    low, high = _limits(wanted, column, tile)
    near, above = np.zeros(low.shape, np.int32), np.zeros(low.shape, np.int32)
    _exceeding_columns(tile, low, high, near, above)
    n_checks = 0
    for k in range(len(low)):
        for j in range(tile.shape[1]):
            slot, found = wanted.first[column + j] + k, above[k, j]
            if near[k, j] > found:
                for i in range(len(tile)):
                    if low[k, j] <= tile[i, j] <= high[k, j]:
                        n_checks += 1
                        found += comes_before(judge, wanted, tile[i, j], column + j, row + i, slot)
            if found > 0:
                add(wanted, column + j, slot, found)
    return n_checks
