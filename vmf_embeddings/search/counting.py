"""Counts, from a tile of scores, how many negatives come before each positive.

A score within its rounding error of a positive's score decides nothing: such pairs are scored
again in float64. Negatives whose score is then equal are counted apart, or ordered by row number
(`QueryPositives.tied`). A "line" is a row of a tile (one
query, or one gallery row in a transposed tile), as opposed to a row of the embeddings.
"""

import numpy as np
from torch import Tensor

from vmf_embeddings import threads
from vmf_embeddings.search.counting_torch import MAX_UNSORTED, count_by_torch, mask_own_class
from vmf_embeddings.search.pair_scores import ExactScorer
from vmf_embeddings.search.positives import QueryPositives

MIN_LINES_PER_THREAD = 128  # of a tile; with fewer, starting a thread costs more than it saves


def count_tile(
    tile: Tensor,
    row: int,
    column: int,
    positives: QueryPositives,
    error_bounds: Tensor,
    scorer: ExactScorer,
) -> int:
    """Add the negatives of a tile to `positives.increments`; rows of the own class do not count.

    Args:
        tile: [I, J] scores of query `row` + i (of the positives) and gallery row `column` + j; it
            may be overwritten.
        row: query of line 0.
        column: gallery row of column 0.
        positives: where to count.
        error_bounds: [Q] float64, largest error of a query's scores in the tile, plus the
            largest of the `tie_errors` of the positives.
        scorer: decides between scores closer than that.

    Returns:
        How many pairs of scores were that close.
    """
    if scorer.compiled and not tile.is_cuda:
        return _count_compiled(tile, row, column, positives, error_bounds, scorer)
    return count_by_torch(tile, row, column, positives, error_bounds, scorer)


def transpose(tile: Tensor, *, compiled: bool) -> Tensor:
    """The transpose [J, I] of a tile, contiguous where compiled code is going to read it."""
    if not compiled or tile.is_cuda:
        return tile.T
    from vmf_embeddings.search.kernels.counting import transpose_columns

    out = tile.new_empty(tile.T.shape)
    source, target = tile.numpy(), out.numpy()
    threads.in_threads(
        lambda begin, end: transpose_columns(source, target, begin, end),
        len(out), MIN_LINES_PER_THREAD,
    )  # fmt: skip
    return out


def _count_compiled(
    tile: Tensor,
    row: int,
    column: int,
    positives: QueryPositives,
    error_bounds: Tensor,
    scorer: ExactScorer,
) -> int:
    """`count_tile` by the compiled kernels."""
    from vmf_embeddings.search.kernels.counting import count
    from vmf_embeddings.search.kernels.ordered import count_ordered

    arrays = _kernel_arrays(tile, positives, error_bounds, scorer)
    lines = tile.numpy()
    if positives.max_per_query(row, row + len(tile)) <= MAX_UNSORTED:
        return sum(
            threads.in_threads(
                lambda begin, end: count(lines, row, column, *arrays, begin, end),
                len(lines), MIN_LINES_PER_THREAD,
            )
        )  # fmt: skip

    def count_sorted(begin: int, end: int) -> int:
        n_rescored = 0
        for top in range(begin, end, MIN_LINES_PER_THREAD):
            part = tile[top : min(top + MIN_LINES_PER_THREAD, end)]
            ordered = part.clone()
            mask_own_class(ordered, row + top, column, positives)
            ordered.numpy().sort(axis=1)
            n_rescored += count_ordered(part.numpy(), ordered.numpy(), row + top, column, *arrays)
        return n_rescored

    return sum(threads.in_threads(count_sorted, len(lines), MIN_LINES_PER_THREAD))


def count_transposed(
    tile: Tensor,
    row: int,
    column: int,
    positives: QueryPositives,
    error_bounds: Tensor,
    scorer: ExactScorer,
) -> int:
    """`count_tile` of the transpose: lines are gallery rows `row` + i, columns are queries."""
    compiled = scorer.compiled and not tile.is_cuda
    few = positives.max_per_query(column, column + tile.shape[1]) <= MAX_UNSORTED
    only_negatives = row + len(tile) <= int(positives.class_begin[column])
    if not (compiled and few and only_negatives):
        lines = transpose(tile, compiled=compiled)
        return count_tile(lines, column, row, positives, error_bounds, scorer)
    from vmf_embeddings.search.kernels.counting import count_columns

    arrays = _kernel_arrays(tile, positives, error_bounds, scorer)
    return count_columns(tile.numpy(), row, column, *arrays)


def _kernel_arrays(
    tile: Tensor, positives: QueryPositives, error_bounds: Tensor, scorer: ExactScorer
) -> tuple:
    """(PositiveArrays, ScorerArrays): the NumPy arrays that the compiled kernels take."""
    from vmf_embeddings.search.kernels.pairs import PositiveArrays, ScorerArrays

    fields = PositiveArrays._fields[: PositiveArrays._fields.index("largest_tie_errors")]
    arrays = [getattr(positives, name).numpy() for name in fields]
    ties = positives.tie_errors
    arrays += [ties.largest.numpy(), ties.own.numpy(), ties.slope]
    tied = np.empty(0, np.int32) if positives.tied is None else positives.tied.numpy()
    tile_is_exact = scorer.rows is None
    rows = tile[:0] if scorer.rows is None else scorer.rows
    return PositiveArrays(*arrays, tied, error_bounds.numpy()), ScorerArrays(
        tile_is_exact, scorer.squared, rows.numpy(), scorer.first_copy.numpy()
    )
