"""Compiled: counts as in `counting`, from sorted lines, for many positives per query."""

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


@native.compiled()
def _merge(scores: Floats, limits: Floats, above: Counts, n_steps: int) -> None:
    """How many scores exceed each limit, for four lines at a time; both are in descending order.

    The merge has no branch that a processor could predict wrongly, and interleaving four lines
    hides the time of memory accesses. The last score of a line must be -inf, the limits beyond the
    last one inf.

    Args:
        scores: [4, J + 1].
        limits: [4, K + J + 1].
        above: [4, K + J + 1] receives the counts in its first K columns.
        n_steps: K + J.
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
    line: Floats,
    ordered: Floats,
    query: int,
    column: int,
    positives: PositiveArrays,
    scorer: ScorerArrays,
    above: Counts,
) -> int:
    """Add the counts of one query, after deciding the scores that are too close to a threshold.

    Args:
        line: [J] scores.
        ordered: the same in descending order, rows of the own class at -inf.
        query: index in `positives.queries`.
        column: gallery row of the first score.
        positives: where to count.
        scorer: decides between scores that are too close.
        above: [>= K] how many scores exceed threshold + error bound of entry k.

    Returns:
        How many scores were too close.
    """
    n_rescored, previous, n_columns, n_tied = 0, 0, len(line), 0
    first, last = positives.offsets[query], positives.offsets[query + 1]
    error = positives.error_bounds[query]
    thresholds = positives.threshold[first:last]
    share_ties = len(positives.tied) > 0
    left = min(max(positives.class_begin[query] - column, 0), n_columns)
    right = min(max(positives.class_end[query] - column, 0), n_columns)
    for k in range(last - first):
        n_before, limit = np.int64(above[k]), thresholds[k]
        if share_ties and k > 0 and limit == thresholds[k - 1]:
            n_before = previous  # entries of equal score have equal counts
        else:
            n_tied = 0
            if ordered[n_before] >= limit - error:
                for begin, end in ((0, left), (right, n_columns)):  # without the own class
                    n_close, n_more, n_equal = resolve(
                        line[begin:end], limit - error, limit + error, query, column + begin,
                        first + k, positives, scorer,
                    )  # fmt: skip
                    n_rescored, n_before = n_rescored + n_close, n_before + n_more
                    n_tied += n_equal
        if n_tied > 0:
            atomic_add(positives.tied, first + k, n_tied)
        if n_before != previous:
            atomic_add(positives.increments, first + k, n_before - previous)
        previous = n_before
    return n_rescored


@native.compiled()
def count_ordered(
    tile: Floats,
    ordered: Floats,
    row: int,
    column: int,
    positives: PositiveArrays,
    scorer: ScorerArrays,
) -> int:
    """`counting.count` for queries with many positives, which also takes every line sorted.

    Args:
        tile: [I, J] as for `count`.
        ordered: the same, rows of the query's own class at -inf, each line ascending.
        row: query of line 0.
        column: gallery row of column 0.
        positives: where to count.
        scorer: decides between scores that are too close.

    Returns:
        How many pairs of scores were too close.
    """
    n_rescored, (n_lines, n_columns) = 0, tile.shape
    n_entries = np.diff(positives.offsets[row : row + n_lines + 1]).max()
    scores = np.full((4, n_columns + 1), -np.inf)
    limits = np.full((4, n_entries + n_columns + 1), np.inf)
    above = np.zeros(limits.shape, np.int32)
    for top in range(0, n_lines, 4):
        lines = min(4, n_lines - top)
        for i in range(lines):
            query = row + top + i
            first, last = positives.offsets[query], positives.offsets[query + 1]
            scores[i, :n_columns] = ordered[top + i, ::-1]
            error = positives.error_bounds[query]
            limits[i, : last - first] = positives.threshold[first:last] + error
            limits[i, last - first : n_entries] = np.inf
        _merge(scores, limits, above, n_entries + n_columns)
        for i in range(lines):
            query = row + top + i
            n_rescored += _resolve(
                tile[top + i], scores[i], query, column, positives, scorer, above[i]
            )
    return n_rescored
