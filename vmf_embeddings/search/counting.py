"""Counts, from a tile of scores, how many negatives come before each positive.

A score within its rounding error of a positive's score decides nothing: such pairs are scored
again in float64, and equal scores are ordered by row number. A "line" is a row of a tile (one
query, or one gallery row in a transposed tile), as opposed to a row of the embeddings.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings import native
from vmf_embeddings.search.positives import QueryPositives

# positives of a query up to which one pass per positive is faster than sorting the scores
MAX_UNSORTED = 32
PAIRS_AT_ONCE = 2**22  # numbers held while pairs are scored again
MIN_LINES_PER_THREAD = 128  # of a tile; with fewer, starting a thread costs more than it saves


@dataclass(frozen=True)
class ExactScorer:
    """Float64 scores of pairs whose rounded scores are too close to order.

    Args:
        first_copy: [N] lowest number of a row equal to each row; equal rows have equal scores,
            whatever rounding made of them.
        rows: [N, D] what is compared, by row number; None where a tile's scores are exact.
        squared: whether rows are compared by distance instead of inner product.
    """

    first_copy: Tensor
    rows: Tensor | None = None
    squared: bool = False

    def score(self, left: Tensor, right: Tensor) -> Tensor:
        """Exact scores [P] of pairs of row numbers: x.y, or -|x - y|^2 / 2, in float64."""
        assert self.rows is not None
        out = torch.empty(len(left), dtype=torch.float64, device=self.rows.device)
        if native.enabled():
            from vmf_embeddings.search.kernels.pairs import score_pairs

            arrays = [x.numpy() for x in (left, right, out)]
            rows = self.rows.numpy()
            native.in_threads(
                lambda begin, end: score_pairs(rows, self.squared, *arrays, begin, end),
                len(left), MIN_LINES_PER_THREAD,
            )  # fmt: skip
            return out
        step = max(1, PAIRS_AT_ONCE // self.rows.shape[1])
        for begin in range(0, len(left), step):
            part = slice(begin, begin + step)
            x, y = self.rows[left[part]].double(), self.rows[right[part]].double()
            out[part] = -(x - y).square().sum(1) / 2 if self.squared else (x * y).sum(1)
        return out


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
        error_bounds: [Q] float64, largest error of a query's scores in the tile.
        scorer: decides between scores closer than that.

    Returns:
        How many pairs of scores were that close.
    """
    if native.enabled() and not tile.is_cuda:
        return _count_compiled(tile, row, column, positives, error_bounds, scorer)
    _mask_own_class(tile, row, column, positives)
    return sum(
        _count_range(
            tile[first - row : last - row], first, last, column, positives, error_bounds, scorer
        )
        for first, last, _ in positives.equal_size_ranges(row, row + len(tile))
    )


def _mask_own_class(tile: Tensor, row: int, column: int, positives: QueryPositives) -> None:
    """Set the scores of the queries' own classes to -inf, in place."""
    queries = slice(row, row + len(tile))
    begin, end = positives.class_begin[queries], positives.class_end[queries]
    if begin.min() < column + tile.shape[1] and end.max() > column:
        columns = torch.arange(column, column + tile.shape[1], device=tile.device)
        begin, end = begin[:, None].to(tile.device), end[:, None].to(tile.device)
        tile.masked_fill_((columns >= begin) & (columns < end), -torch.inf)


def transpose(tile: Tensor) -> Tensor:
    """The transpose [J, I] of a tile, contiguous where compiled code is going to read it."""
    if not native.enabled() or tile.is_cuda:
        return tile.T
    from vmf_embeddings.search.kernels.counting import transpose_columns

    out = tile.new_empty(tile.T.shape)
    source, target = tile.numpy(), out.numpy()
    native.in_threads(
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
            native.in_threads(
                lambda begin, end: count(lines, row, column, *arrays, begin, end),
                len(lines), MIN_LINES_PER_THREAD,
            )
        )  # fmt: skip

    def count_sorted(begin: int, end: int) -> int:
        n_rescored = 0
        for top in range(begin, end, MIN_LINES_PER_THREAD):
            part = tile[top : min(top + MIN_LINES_PER_THREAD, end)]
            ordered = part.clone()
            _mask_own_class(ordered, row + top, column, positives)
            ordered.numpy().sort(axis=1)
            n_rescored += count_ordered(part.numpy(), ordered.numpy(), row + top, column, *arrays)
        return n_rescored

    return sum(native.in_threads(count_sorted, len(lines), MIN_LINES_PER_THREAD))


def count_transposed(
    tile: Tensor,
    row: int,
    column: int,
    positives: QueryPositives,
    error_bounds: Tensor,
    scorer: ExactScorer,
) -> int:
    """`count_tile` of the transpose: lines are gallery rows `row` + i, columns are queries."""
    compiled = native.enabled() and not tile.is_cuda
    few = positives.max_per_query(column, column + tile.shape[1]) <= MAX_UNSORTED
    only_negatives = row + len(tile) <= int(positives.class_begin[column])
    if not (compiled and few and only_negatives):
        return count_tile(transpose(tile), column, row, positives, error_bounds, scorer)
    from vmf_embeddings.search.kernels.counting import count_columns

    arrays = _kernel_arrays(tile, positives, error_bounds, scorer)
    return count_columns(tile.numpy(), row, column, *arrays)


def _kernel_arrays(
    tile: Tensor, positives: QueryPositives, error_bounds: Tensor, scorer: ExactScorer
) -> tuple:
    """(PositiveArrays, ScorerArrays): the NumPy arrays that the compiled kernels take."""
    from vmf_embeddings.search.kernels.pairs import PositiveArrays, ScorerArrays

    fields = PositiveArrays._fields[:-1]
    arrays = [getattr(positives, name).numpy() for name in fields]
    tile_is_exact = scorer.rows is None
    rows = tile[:0] if scorer.rows is None else scorer.rows
    return PositiveArrays(*arrays, error_bounds.numpy()), ScorerArrays(
        tile_is_exact, scorer.squared, rows.numpy(), scorer.first_copy.numpy()
    )


def _count_range(
    tile: Tensor,
    first: int,
    last: int,
    column: int,
    positives: QueryPositives,
    error_bounds: Tensor,
    scorer: ExactScorer,
) -> int:
    """`count_tile` by torch for queries with equally many entries, own class at -inf."""
    threshold = positives.view(positives.threshold, first, last)
    if scorer.rows is None and threshold.shape[1] <= MAX_UNSORTED:
        return _count_exact(tile, first, last, column, positives)
    error = error_bounds[first:last, None].to(tile.device)
    low, high = (threshold - error).to(tile.dtype), (threshold + error).to(tile.dtype)
    above, at_least = _count_exceeding(tile, low, high)
    ambiguous = (at_least > above).nonzero()
    n_rescored = 0
    step = max(1, PAIRS_AT_ONCE // tile.shape[1])
    for lines, entry in (part.unbind(1) for part in ambiguous.split(step)):
        scores = tile[lines]
        close = (scores >= low[lines, entry, None]) & (scores <= high[lines, entry, None])
        which, columns = close.nonzero().unbind(1)
        lines, entry = lines[which], entry[which]
        before = _come_before(
            tile[lines, columns], first + lines, column + columns,
            positives.view(positives.position, first, last)[lines, entry],
            threshold[lines, entry], positives, scorer,
        )  # fmt: skip
        above.index_put_((lines, entry), before.to(above.dtype), accumulate=True)
        n_rescored += len(which)
    increments = positives.view(positives.increments, first, last)
    increments.add_(above.diff(dim=1, prepend=above.new_zeros(len(above), 1)))
    return n_rescored


def _count_exact(
    tile: Tensor, first: int, last: int, column: int, positives: QueryPositives
) -> int:
    """`_count_range` where the tile's scores are exact: no synchronisation with the host."""
    threshold = positives.view(positives.threshold, first, last)
    gallery = positives.gallery.to(tile.device)
    class_begin = positives.class_begin[first:last, None].to(tile.device)
    positive = gallery[class_begin + positives.view(positives.position, first, last)]
    other = gallery[column : column + tile.shape[1]]
    previous = torch.zeros(len(tile), dtype=torch.int64, device=tile.device)
    increments = positives.view(positives.increments, first, last)
    for k in range(threshold.shape[1]):
        limit = threshold[:, k, None]
        before = (tile > limit) | ((tile == limit) & (other < positive[:, k, None]))
        n_before = before.sum(1)
        increments[:, k] += n_before - previous
        previous = n_before
    return 0


def _count_exceeding(tile: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """How many scores of each line of [I, J] are > `high` and how many >= `low`, all [I, K]."""
    n_limits = low.shape[1]
    if n_limits > MAX_UNSORTED:
        lines = tile.contiguous()
        ordered = lines.sort(1).values if tile.is_cuda else torch.from_numpy(np.sort(lines.numpy()))
        above = tile.shape[1] - torch.searchsorted(ordered, high.contiguous(), right=True)
        return above, tile.shape[1] - torch.searchsorted(ordered, low.contiguous())
    above = torch.empty(low.shape, dtype=torch.int64, device=tile.device)
    at_least, compared = torch.empty_like(above), torch.empty_like(tile)
    ones = tile.new_ones(tile.shape[1])
    # a float sum of zeros and ones is exact, and several times faster than a sum of bools
    for k in range(n_limits):
        above[:, k] = torch.gt(tile, high[:, k, None], out=compared) @ ones
        at_least[:, k] = torch.ge(tile, low[:, k, None], out=compared) @ ones
    return above, at_least


def _come_before(
    rounded: Tensor,
    queries: Tensor,
    columns: Tensor,
    position: Tensor,
    threshold: Tensor,
    positives: QueryPositives,
    scorer: ExactScorer,
) -> Tensor:
    """Whether negatives come before positives, for P pairs whose scores are close.

    Args:
        rounded: [P] the negatives' scores in the tile.
        queries: [P] indices in `positives.queries`.
        columns: [P] the negatives' indices in `positives.gallery`.
        position: [P] the positives' places in their class.
        threshold: [P] the positives' exact scores.
        positives: what the indices refer to.
        scorer: gives exact scores and duplicates.

    Returns:
        [P] bool on the device of `rounded`.
    """
    columns, queries = columns.cpu(), queries.cpu()
    other = positives.gallery[columns]
    positive = positives.gallery[positives.class_begin[queries] + position.cpu()]
    exact = rounded.double()
    if scorer.rows is not None:
        exact = scorer.score(positives.queries[queries], other)
    exact, threshold = exact.cpu(), threshold.cpu()
    tie = (exact == threshold) | (scorer.first_copy[other] == scorer.first_copy[positive])
    return ((exact > threshold) & ~tie | tie & (other < positive)).to(rounded.device)
