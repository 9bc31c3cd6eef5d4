"""`counting` by torch, on any device: how many negatives of a tile come before each positive."""

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.search.pair_scores import PAIRS_AT_ONCE, ExactScorer
from vmf_embeddings.search.positives import QueryPositives
from vmf_embeddings.search.precision import full_float32_products

# positives of a query up to which one pass per positive is faster than sorting the scores
MAX_UNSORTED = 32


def count_by_torch(
    tile: Tensor,
    row: int,
    column: int,
    positives: QueryPositives,
    error_bounds: Tensor,
    scorer: ExactScorer,
) -> int:
    """`counting.count_tile`, which has the arguments and what is returned."""
    mask_own_class(tile, row, column, positives)
    return sum(
        _count_range(
            tile[first - row : last - row], first, last, column, positives, error_bounds, scorer
        )
        for first, last, _ in positives.equal_size_ranges(row, row + len(tile))
    )


def mask_own_class(tile: Tensor, row: int, column: int, positives: QueryPositives) -> None:
    """Set the scores of the queries' own classes to -inf, in place."""
    queries = slice(row, row + len(tile))
    begin, end = positives.class_begin[queries], positives.class_end[queries]
    if begin.min() < column + tile.shape[1] and end.max() > column:
        columns = torch.arange(column, column + tile.shape[1], device=tile.device)
        begin, end = begin[:, None].to(tile.device), end[:, None].to(tile.device)
        tile.masked_fill_((columns >= begin) & (columns < end), -torch.inf)


def _count_range(
    tile: Tensor,
    first: int,
    last: int,
    column: int,
    positives: QueryPositives,
    error_bounds: Tensor,
    scorer: ExactScorer,
) -> int:
    """Count for queries with equally many entries, own class at -inf."""
    threshold = positives.view(positives.threshold, first, last)
    if scorer.rows is None and threshold.shape[1] <= MAX_UNSORTED:
        return _count_exact(tile, first, last, column, positives)
    error = error_bounds[first:last, None].to(tile.device)
    low, high = (threshold - error).to(tile.dtype), (threshold + error).to(tile.dtype)
    above, is_close = _count_exceeding(tile, low, high)
    tied = torch.zeros_like(above)
    if positives.tied is not None:  # entries of equal score have equal counts: one is enough
        is_close[:, 1:] &= threshold[:, 1:] != threshold[:, :-1]
    n_rescored = 0
    step = max(1, PAIRS_AT_ONCE // tile.shape[1])
    for lines, entry in (part.unbind(1) for part in is_close.nonzero().split(step)):
        scores = tile[lines]
        close = (scores >= low[lines, entry, None]) & (scores <= high[lines, entry, None])
        which, columns = close.nonzero().unbind(1)
        lines, entry = lines[which], entry[which]
        before, equal = _compare(
            tile[lines, columns], first + lines, column + columns,
            positives.view(positives.position, first, last)[lines, entry],
            threshold[lines, entry], positives, scorer,
        )  # fmt: skip
        above.index_put_((lines, entry), before.to(above.dtype), accumulate=True)
        tied.index_put_((lines, entry), equal.to(above.dtype), accumulate=True)
        n_rescored += len(which)
    if positives.tied is not None:
        start = _run_starts(threshold)
        above, tied = above.gather(1, start), tied.gather(1, start)
        positives.view(positives.tied, first, last).add_(tied)
    increments = positives.view(positives.increments, first, last)
    increments.add_(above.diff(dim=1, prepend=above.new_zeros(len(above), 1)))
    return n_rescored


def _run_starts(values: Tensor) -> Tensor:
    """For each of the sorted values [I, J], the index of the first of its line equal to it."""
    index = torch.arange(values.shape[1], device=values.device).repeat(len(values), 1)
    index[:, 1:].masked_fill_(values[:, 1:] == values[:, :-1], 0)
    return index.cummax(1).values


def _count_exact(
    tile: Tensor, first: int, last: int, column: int, positives: QueryPositives
) -> int:
    """`_count_range` where the tile's scores are exact: no synchronisation with the host."""
    threshold = positives.view(positives.threshold, first, last)
    if positives.tied is not None:
        _count_exact_and_tied(tile, threshold, first, last, positives)
        return 0
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


def _count_exact_and_tied(
    tile: Tensor, threshold: Tensor, first: int, last: int, positives: QueryPositives
) -> None:
    """`_count_exact` with ties counted apart."""
    assert positives.tied is not None
    errors = positives.tie_errors[first:last]
    previous = torch.zeros(len(tile), dtype=torch.int64, device=tile.device)
    increments, tied = (
        positives.view(counts, first, last) for counts in (positives.increments, positives.tied)
    )
    for k in range(threshold.shape[1]):
        error = errors.at(threshold[:, k])
        n_before = (tile > (threshold[:, k] + error)[:, None]).sum(1)
        increments[:, k] += n_before - previous
        tied[:, k] += (tile >= (threshold[:, k] - error)[:, None]).sum(1) - n_before
        previous = n_before


def _count_exceeding(tile: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """How many scores of each line of [I, J] are > `high`, and whether any lie in low .. high.

    Both are [I, K].
    """
    n_limits = low.shape[1]
    if n_limits > MAX_UNSORTED:
        lines = tile.contiguous()
        ordered = lines.sort(1).values if tile.is_cuda else torch.from_numpy(np.sort(lines.numpy()))
        n_up_to = torch.searchsorted(ordered, high.contiguous(), right=True)
        highest = ordered.gather(1, (n_up_to - 1).clamp_min_(0))  # of those that are not above
        return tile.shape[1] - n_up_to, (highest >= low) & (n_up_to > 0)
    above = torch.empty(low.shape, dtype=torch.int64, device=tile.device)
    at_least, compared = torch.empty_like(above), torch.empty_like(tile)
    ones = tile.new_ones(tile.shape[1])
    # a float sum of zeros and ones is exact, and several times faster than a sum of bools
    with full_float32_products(tile.device):  # autocast would give counts of 8 bits
        for k in range(n_limits):
            above[:, k] = torch.gt(tile, high[:, k, None], out=compared) @ ones
            at_least[:, k] = torch.ge(tile, low[:, k, None], out=compared) @ ones
    return above, at_least > above


def _compare(
    rounded: Tensor,
    queries: Tensor,
    columns: Tensor,
    position: Tensor,
    threshold: Tensor,
    positives: QueryPositives,
    scorer: ExactScorer,
) -> tuple[Tensor, Tensor]:
    """Which negatives come before positives, and which are tied, for P pairs of close scores.

    Args:
        rounded: [P] the negatives' scores in the tile.
        queries: [P] indices in `positives.queries`.
        columns: [P] the negatives' indices in `positives.gallery`.
        position: [P] the positives' places in their class.
        threshold: [P] the positives' exact scores.
        positives: what the indices refer to.
        scorer: gives exact scores and duplicates.

    Returns:
        Both [P] bool on the device of `rounded`; none is tied where ties go by row number.
    """
    columns, queries = columns.cpu(), queries.cpu()
    other = positives.gallery[columns]
    positive = positives.gallery[positives.class_begin[queries] + position.cpu()]
    exact = rounded.double()
    if scorer.rows is not None:
        exact = scorer.score(positives.queries[queries], other)
    difference = exact.cpu() - threshold.cpu()
    tie = difference.abs() <= positives.tie_errors[queries].at(threshold.cpu())
    tie |= scorer.first_copy[other] == scorer.first_copy[positive]
    before = (difference > 0) & ~tie
    if positives.tied is None:
        before, tie = before | tie & (other < positive), torch.zeros_like(tie)
    return before.to(rounded.device), tie.to(rounded.device)
