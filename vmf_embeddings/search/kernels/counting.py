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
def _count_until_close(
    scores: Floats, thresholds: Floats, error: float, limits: Floats, n_before: Counts, k: int
) -> int:
    """Count the scores [J] above the thresholds k, k - 1, .. 0 until one is too close to a score.

    Args:
        scores: of negatives.
        thresholds: [K] of a query's entries, descending; inf where nothing is counted.
        error: how far from a threshold a score may be for which that does not decide.
        limits: [2] working memory of the scores' type.
        n_before: [>= K] zeros, which the counts overwrite.
        k: where to begin: the lowest threshold comes first.

    Returns:
        Which threshold it is; -1 if there is none.
    """
    while k >= 0 and not np.isinf(thresholds[k]):
        limits[0], limits[1] = thresholds[k] - error, thresholds[k] + error
        at_least, n_before[k] = _exceeding(scores, limits[0], limits[1])
        if at_least == 0:
            return -1  # nor does any score reach the higher thresholds
        if at_least > n_before[k]:
            return k
        k -= 1
    return -1


@native.compiled()
def _count_line(
    scores: Floats,
    query: int,
    column: int,
    positives: PositiveArrays,
    scorer: ScorerArrays,
    limits: Floats,
    n_before: Counts,
    k: int,
) -> int:
    """Go on with a line from its entry k, which is too close to a score, to the end.

    Args:
        scores: [J] of the query and gallery rows `column` + j, all negatives.
        query: index in `positives.queries`.
        column: gallery row of the first score.
        positives: where ties are counted.
        scorer: decides between scores that are too close.
        limits: see `_count_until_close`.
        n_before: see `_count_until_close`.
        k: see `_count_until_close`.

    Returns:
        How many scores were too close to a positive's.
    """
    n_rescored, first, error = 0, positives.offsets[query], positives.error_bounds[query]
    thresholds = positives.threshold[first : positives.offsets[query + 1]]
    share_ties = len(positives.tied) > 0
    while k >= 0:
        n_close, n_more, n_tied = resolve(
            scores, limits[0], limits[1], query, column, first + k, positives, scorer
        )
        n_rescored += n_close
        limit, count = thresholds[k], n_before[k] + n_more
        while True:  # entries of equal score have equal counts
            n_before[k] = count
            if n_tied > 0:
                atomic_add(positives.tied, first + k, n_tied)
            k -= 1
            if k < 0 or not share_ties or thresholds[k] != limit:
                break
        k = _count_until_close(scores, thresholds, error, limits, n_before, k)
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
    n_rescored, n_columns, bounds = 0, tile.shape[1], np.empty(2, tile.dtype)
    offsets, thresholds, errors = positives.offsets, positives.threshold, positives.error_bounds
    increments = positives.increments
    counts = np.empty(np.diff(offsets[row + begin : row + end + 1]).max(), np.int32)
    for i in range(begin, end):
        query = row + i
        first, last = offsets[query], offsets[query + 1]
        left = min(max(positives.class_begin[query] - column, 0), n_columns)
        right = min(max(positives.class_end[query] - column, 0), n_columns)
        for start, stop in ((0, left), (right, n_columns)):  # without the own class
            scores, n_before = tile[i, start:stop], counts[: last - first]
            n_before[:] = 0
            limits = thresholds[first:last], errors[query], bounds
            k = _count_until_close(scores, *limits, n_before, last - first - 1)
            if k >= 0:  # seldom: to pass all arrays takes longer than to count a line
                n_rescored += _count_line(
                    scores, query, column + start, positives, scorer, bounds, n_before, k
                )
            for k in range(last - first):
                if n_before[k] > 0:
                    atomic_add(increments, first + k, n_before[k])
                    if first + k + 1 < last:
                        atomic_add(increments, first + k + 1, -n_before[k])
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
                atomic_add(positives.increments, entry, above[k, j])
                if entry + 1 < positives.offsets[column + j + 1]:
                    atomic_add(positives.increments, entry + 1, -above[k, j])
            if tied[k, j] > 0:
                atomic_add(positives.tied, entry, tied[k, j])
    return n_rescored
