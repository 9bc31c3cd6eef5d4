"""Machine code for single pairs of rows: their score, and which comes first; imports Numba."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vmf_embeddings import native

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
def comes_before(
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


@native.compiled()
def add(wanted: Wanted, query: int, slot: int, found: int) -> None:
    """Add what comes before a slot to it and take it from the next: counts are differences."""
    wanted.count[slot] += found
    if slot + 1 < wanted.first[query + 1]:
        wanted.count[slot + 1] -= found
