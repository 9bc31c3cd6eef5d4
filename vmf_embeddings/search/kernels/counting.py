"""Compiled: how many negatives of a tile come before each positive, for few positives per query.

A "line" is a row of a tile, as opposed to a row of the embeddings.
"""

import numpy as np

from vmf_embeddings import native
from vmf_embeddings.search.kernels.atomic import atomic_add
from vmf_embeddings.search.kernels.pairs import (
    Counts,
    Floats,
    PositiveArrays,
    ScorerArrays,
    add,
    resolve,
)

LINES = 8  # lines that are counted together, column by column
BLOCK = 16  # side of the squares in which a tile is transposed
# sums may be reordered; infinities keep their meaning
_FREE = {"contract", "reassoc", "nsz"}


@native.compiled()
def transpose_columns(tile: Floats, out: Floats, begin: int, end: int) -> None:
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
    """How many scores are >= `low` and how many > `high`; both limits have the scores' type."""
    at_least, above = np.float32(0), np.float32(0)  # exact below 2^24
    for j in range(len(scores)):
        at_least += np.float32(1) if scores[j] >= low else np.float32(0)
        above += np.float32(1) if scores[j] > high else np.float32(0)
    return int(at_least), int(above)


@native.compiled()
def _count_line(
    scores: Floats,
    query: int,
    column: int,
    positives: PositiveArrays,
    scorer: ScorerArrays,
    bounds: Floats,
) -> int:
    """Count the negatives in part of a line for each entry of a query.

    Args:
        scores: [J] of the query and gallery rows `column` + j, all negatives.
        query: index in `positives.queries`.
        column: gallery row of the first score.
        positives: where to count.
        scorer: decides between scores that are too close.
        bounds: [2] working memory of the scores' type.

    Returns:
        How many scores were too close to a positive's.
    """
    n_rescored, n_before, n_tied, previous = 0, 0, 0, np.nan
    share_ties = len(positives.tied) > 0
    # the lowest threshold first
    for entry in range(positives.offsets[query + 1] - 1, positives.offsets[query] - 1, -1):
        limit = positives.threshold[entry]
        if np.isinf(limit):
            continue
        if not (share_ties and limit == previous):  # entries of equal score have equal counts
            previous = limit
            bounds[0] = limit - positives.error_bounds[query]
            bounds[1] = limit + positives.error_bounds[query]
            at_least, n_before = _exceeding(scores, bounds[0], bounds[1])
            n_tied = 0
            if at_least == 0:
                break  # nor does any score reach the higher thresholds
            if at_least > n_before:
                n_close, n_more, n_tied = resolve(
                    scores, bounds[0], bounds[1], query, column, entry, positives, scorer
                )
                n_rescored, n_before = n_rescored + n_close, n_before + n_more
        add(positives, query, entry, n_before)
        if n_tied > 0:
            atomic_add(positives.tied, entry, n_tied)
    return n_rescored


@native.compiled()
def count(
    tile: Floats,
    row: int,
    column: int,
    positives: PositiveArrays,
    scorer: ScorerArrays,
    begin: int,
    end: int,
) -> int:
    """Add lines of a tile to `positives.increments`; rows of the own class do not count.

    Args:
        tile: [I, J] scores of query `row` + i and gallery row `column` + j.
        row: query of line 0.
        column: gallery row of column 0.
        positives: where to count.
        scorer: decides between scores that are too close.
        begin: first line.
        end: one past the last line.

    Returns:
        How many pairs of scores were too close.
    """
    n_rescored, n_columns = 0, tile.shape[1]
    bounds = np.empty(2, tile.dtype)
    for i in range(begin, end):
        query = row + i
        left = min(max(positives.class_begin[query] - column, 0), n_columns)
        right = min(max(positives.class_end[query] - column, 0), n_columns)
        n_rescored += _count_line(tile[i, :left], query, column, positives, scorer, bounds)
        n_rescored += _count_line(tile[i, right:], query, column + right, positives, scorer, bounds)
    return n_rescored


@native.compiled(fastmath=_FREE)
def _exceeding_columns(
    tile: Floats, low: Floats, high: Floats, at_least: Counts, above: Counts
) -> None:
    """`_exceeding` for every column of a tile [I, J] and limits [K, J], added to counts [K, J].

    Eight lines at a time are written out so that the compiler turns them into vector instructions.
    """
    one, none = np.int32(1), np.int32(0)
    whole = tile.shape[0] // LINES * LINES
    for i in range(0, whole, LINES):
        a, b, c, d = tile[i], tile[i + 1], tile[i + 2], tile[i + 3]
        e, f, g, h = tile[i + 4], tile[i + 5], tile[i + 6], tile[i + 7]
        for k in range(len(low)):
            limit, n = low[k], at_least[k]
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
                at_least[k, j] += one if tile[i, j] >= low[k, j] else none
                above[k, j] += one if tile[i, j] > high[k, j] else none


@native.compiled()
def _limits(positives: PositiveArrays, column: int, tile: Floats) -> tuple[Floats, Floats]:
    """Threshold -+ error bound of entry k of query `column` + j, both [K, J]; inf where none."""
    n_columns = tile.shape[1]
    first = positives.offsets[column : column + n_columns + 1]
    low = np.full((np.diff(first).max(), n_columns), np.inf, tile.dtype)
    high = low.copy()
    for j in range(n_columns):
        error = positives.error_bounds[column + j]
        for entry in range(first[j], first[j + 1]):
            if not np.isinf(positives.threshold[entry]):
                low[entry - first[j], j] = positives.threshold[entry] - error
                high[entry - first[j], j] = positives.threshold[entry] + error
    return low, high


@native.compiled()
def count_columns(
    tile: Floats, row: int, column: int, positives: PositiveArrays, scorer: ScorerArrays
) -> int:
    """`count` of the transpose: columns are queries, lines are gallery rows of other classes.

    Args:
        tile: [I, J] scores of gallery row `row` + i and query `column` + j.
        row: gallery row of line 0.
        column: query of column 0.
        positives: where to count.
        scorer: decides between scores that are too close.

    Returns:
        How many pairs of scores were too close.
    """
    low, high = _limits(positives, column, tile)
    at_least, above = np.zeros(low.shape, np.int32), np.zeros(low.shape, np.int32)
    _exceeding_columns(tile, low, high, at_least, above)
    tied = np.zeros(low.shape, np.int32)
    n_rescored, share_ties, threshold = 0, len(positives.tied) > 0, positives.threshold
    for k in range(len(low)):
        for j in range(tile.shape[1]):
            entry = positives.offsets[column + j] + k
            is_entry = share_ties and k > 0 and low[k, j] < np.inf
            if is_entry and threshold[entry] == threshold[entry - 1]:
                above[k, j], tied[k, j] = above[k - 1, j], tied[k - 1, j]
            elif at_least[k, j] > above[k, j]:
                n_close, n_more, n_tied = resolve(
                    tile[:, j], low[k, j], high[k, j], column + j, row, entry, positives, scorer
                )
                n_rescored += n_close
                above[k, j] += n_more
                tied[k, j] = n_tied
            if above[k, j] > 0:
                add(positives, column + j, entry, above[k, j])
            if tied[k, j] > 0:
                atomic_add(positives.tied, entry, tied[k, j])
    return n_rescored
