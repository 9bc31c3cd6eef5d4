"""Machine code that counts the same from sorted lines, for many slots; imports Numba."""

import numpy as np

from vmf_embeddings import native
from vmf_embeddings.search.kernels.pairs import Counts, Floats, Judge, Wanted, comes_before


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
                    found += comes_before(judge, wanted, line[j], query, column + j, first + k)
        counts[k] += found - before
        before = found
    return n_checks


@native.compiled()
def count_ordered(
    tile: Floats, ordered: Floats, row: int, column: int, wanted: Wanted, judge: Judge
) -> int:
    """`count` for queries with many slots: each line of scores comes sorted as well.

    Args:
        tile: [I, J] as for `count`.
        ordered: the same, rows of the query's own class at -inf, each line ascending.
        row: query of line 0.
        column: gallery row of column 0.
        wanted: where to count.
        judge: for scores that are too close.

    Returns:
        How many times two scores were too close.
    """
    n_checks, (n_lines, n_columns) = 0, tile.shape
    n_slots = np.diff(wanted.first[row : row + n_lines + 1]).max()
    scores = np.full((4, n_columns + 1), -np.inf)
    limits = np.full((4, n_slots + n_columns + 1), np.inf)
    above = np.zeros(limits.shape, np.int32)
    for top in range(0, n_lines, 4):
        lines = min(4, n_lines - top)
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
