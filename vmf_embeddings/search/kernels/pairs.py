"""Compiled: the exact score of a pair of rows, and which of two gallery rows comes first."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vmf_embeddings import native

# sums may be reordered; infinities keep their meaning
_FREE = {"contract", "reassoc", "nsz"}

Floats = NDArray[np.floating]
Numbers = NDArray[np.int64]
Counts = NDArray[np.int32]


# where a negative ranks relative to a positive
AFTER, BEFORE, TIED = 0, 1, 2


class PositiveArrays(NamedTuple):
    """The arrays of `QueryPositives`, and the largest error of each query's rounded scores [Q].

    `largest_tie_errors`, `own_tie_errors` and `tie_slope` are those of `TieErrors`.

    `tied` has no entries where equal scores go by row number.
    """

    offsets: Numbers
    class_begin: Numbers
    class_end: Numbers
    queries: Numbers
    gallery: Numbers
    threshold: Floats
    position: Counts
    increments: Counts
    largest_tie_errors: Floats
    own_tie_errors: Floats
    tie_slope: float
    tied: Counts
    error_bounds: Floats


class ScorerArrays(NamedTuple):
    """The arrays of `ExactScorer`; `tile_is_exact` where it has no rows to score again."""

    tile_is_exact: bool
    squared: bool
    rows: Floats
    first_copy: Numbers


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
    """Write to `out` [P] the scores of the pairs of row numbers from `begin` to `end`."""
    for pair in range(begin, end):
        out[pair] = score(rows, squared, left[pair], right[pair])


@native.compiled()
def compare(
    positives: PositiveArrays,
    scorer: ScorerArrays,
    rounded: float,
    query: int,
    column: int,
    entry: int,
) -> int:
    """Whether a negative ranks BEFORE or AFTER a positive or is TIED; see `QueryPositives.tied`.

    Args:
        positives: what the indices refer to.
        scorer: gives exact scores and duplicates.
        rounded: the negative's score in the tile.
        query: index in `positives.queries`.
        column: the negative's index in `positives.gallery`.
        entry: of the positive.
    """
    other = positives.gallery[column]
    positive = positives.gallery[positives.class_begin[query] + positives.position[entry]]
    if scorer.first_copy[other] != scorer.first_copy[positive]:
        exact = rounded
        if not scorer.tile_is_exact:
            exact = score(scorer.rows, scorer.squared, positives.queries[query], other)
        threshold = positives.threshold[entry]
        difference = exact - threshold
        error = positives.own_tie_errors[query] + positives.tie_slope * abs(threshold)
        if abs(difference) > min(error, positives.largest_tie_errors[query]):
            return BEFORE if difference > 0 else AFTER
    if len(positives.tied) > 0:
        return TIED
    return BEFORE if other < positive else AFTER


@native.compiled()
def resolve(
    scores: Floats,
    low: float,
    high: float,
    query: int,
    column: int,
    entry: int,
    positives: PositiveArrays,
    scorer: ScorerArrays,
) -> tuple[int, int, int]:
    """How many scores [J] lie in `low`..`high`, too close to an entry's, and what these are.

    Returns:
        Their number, how many of the negatives come before the entry, how many are tied with it.
    """
    n_close, n_before, n_tied = 0, 0, 0
    # where many rows coincide most pairs end here: passing all arrays to `compare` would cost
    # a hundred times as much as this look at the numbers of the first copies
    gallery, first_copy = positives.gallery, scorer.first_copy
    share_ties = len(positives.tied) > 0
    copy = first_copy[gallery[positives.class_begin[query] + positives.position[entry]]]
    for j in range(len(scores)):
        if low <= scores[j] <= high:
            n_close += 1
            if share_ties and first_copy[gallery[column + j]] == copy:
                n_tied += 1
                continue
            order = compare(positives, scorer, scores[j], query, column + j, entry)
            n_before += order == BEFORE
            n_tied += order == TIED
    return n_close, n_before, n_tied
