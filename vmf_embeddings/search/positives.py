"""The positives of a range of queries: their exact scores, and counts of negatives before them.

The positives of a query are the gallery rows of its class, its negatives all other gallery rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings.search.by_class import ByClass
from vmf_embeddings.search.tie_errors import TieErrors


@dataclass
class QueryPositives:
    """One entry for every (query, positive), grouped by query; P entries for Q queries.

    Args:
        offsets: [Q + 1] first entry of each query; the last value is P.
        class_begin: [Q] where the query's class begins in `gallery`.
        class_end: [Q] where it ends (exclusive).
        queries: [Q] row numbers.
        gallery: [G] row numbers, sorted by class.
        threshold: [P] float64 score of the positive, descending within a query. A row of the class
            that is never compared with the query, such as the query itself, has the score +inf: no
            negative comes before it.
        position: [P] int32, place of the positive in its class, counted from `class_begin`.
        increments: [P] int32, how many negatives rank between the previous positive of the query
            and this one; their cumulative sum is the number of negatives before the positive.
        tie_errors: largest difference of two scores of a query that are equal but for rounding.
        tied: [P] int32, how many negatives have the score of the positive; these do not count as
            before it. None where negatives of lower row number do, and others come after it.
        n_equal: [P] int32, how many positives of the query have the score of this one, which
            counts too. None where `tied` is.
    """

    offsets: Tensor
    class_begin: Tensor
    class_end: Tensor
    queries: Tensor
    gallery: Tensor
    threshold: Tensor
    position: Tensor
    increments: Tensor
    tie_errors: TieErrors
    tied: Tensor | None = None
    n_equal: Tensor | None = None

    def equal_size_ranges(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """Ranges (first, last, n) of queries whose class has n gallery rows, n >= 1."""
        sizes = self.class_end[first:last] - self.class_begin[first:last]
        values, counts = sizes.unique_consecutive(return_counts=True)
        for size, count in zip(values.tolist(), counts.tolist(), strict=True):
            if size:
                yield first, first + count, size
            first += count

    def max_per_query(self, first: int, last: int) -> int:
        """The most entries that a query from `first` to `last` (exclusive) has."""
        return int(self.offsets[first : last + 1].diff().max())

    def view(self, values: Tensor, first: int, last: int) -> Tensor:
        """The entries' values [P] of queries with equally many entries, as [last - first, n]."""
        return values[int(self.offsets[first]) : int(self.offsets[last])].view(last - first, -1)

    def fill(self, first: int, last: int, scores: Tensor, excluded: Tensor) -> None:
        """Set `threshold`, `position` and `n_equal` of the queries `first` to `last` (exclusive).

        Args:
            first: first query.
            last: one past the last query.
            scores: [last - first, n] float64 scores of the class's rows, in the order of the
                gallery; overwritten.
            excluded: [2, E] (index of the score's query from `first`, which of the n rows) that are
                not compared.
        """
        thresholds = self.view(self.threshold, first, last)
        best_only = thresholds.shape[1] < scores.shape[1]
        line, place = excluded.to(scores.device)
        scores[line, place] = -torch.inf if best_only else torch.inf
        tie_errors = self.tie_errors[first:last]
        if best_only:
            # max() may return any of several equal scores; the first is wanted
            value = scores.amax(1, keepdim=True)
            position = (scores == value).byte().argmax(1, keepdim=True)
        else:
            value, position = sort_descending(scores)
            if self.tied is not None:
                value = merge_close(value, tie_errors)
        thresholds.copy_(value)
        self.view(self.position, first, last).copy_(position)
        if self.n_equal is not None:
            n_equal = self.view(self.n_equal, first, last)
            if best_only:
                n_equal.copy_((scores >= value - tie_errors.at(value)).sum(1, keepdim=True))
            else:
                n_equal.copy_(run_lengths(value))


def sort_descending(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Each row of [I, J] sorted in descending order, with its indices; equal scores keep order.

    On the CPU NumPy sorts, several times as fast as torch, but not stably: rows that hold equal
    scores are sorted again by torch.
    """
    if scores.is_cuda:
        return scores.sort(dim=1, descending=True, stable=True)
    position = torch.from_numpy((-scores).numpy().argsort(axis=1))
    value = scores.gather(1, position)
    tied = (value[:, 1:] == value[:, :-1]).any(1)
    if tied.any():
        value[tied], position[tied] = scores[tied].sort(dim=1, descending=True, stable=True)
    return value, position


def merge_close(values: Tensor, tie_errors: TieErrors) -> Tensor:
    """Descending values [I, J], those within the error of a larger one made equal to it.

    Each run of equal values takes the value of its first, whose error counts.

    >>> errors = TieErrors.of_products(torch.tensor([0.2]))
    >>> merge_close(torch.tensor([[5.0, 4.9, 4.7, 1.0]]), errors).tolist()
    [[5.0, 5.0, 4.699999809265137, 1.0]]
    """
    gaps = values[:, :-1] - values[:, 1:]  # NaN between infinite values
    largest = tie_errors.largest[:, None].to(values.device)
    lines = ((gaps > 0) & (gaps <= largest)).any(1).nonzero().squeeze(1)
    if len(lines) == 0:
        return values
    merged = values[lines]
    errors = tie_errors[lines.cpu()].at(merged)
    start, error = merged[:, 0], errors[:, 0]
    for j in range(1, merged.shape[1]):
        in_run = start - merged[:, j] <= error
        start = torch.where(in_run, start, merged[:, j])
        error = torch.where(in_run, error, errors[:, j])
        merged[:, j] = start
    return values.index_copy(0, lines, merged)


def run_lengths(values: Tensor) -> Tensor:
    """For each of the sorted values [I, J], how many of its line are equal to it, [I, J]."""
    same = values[:, 1:] == values[:, :-1]
    lengths = torch.ones(values.shape, dtype=torch.int64, device=values.device)
    lines = same.any(1).nonzero().squeeze(1)
    if len(lines):
        starts = torch.ones((len(lines), values.shape[1]), dtype=torch.bool, device=values.device)
        starts[:, 1:] = ~same[lines]
        run = starts.flatten().cumsum(0) - 1
        lengths[lines] = torch.bincount(run)[run].view(starts.shape)
    return lengths


def allocate_positives(
    order: ByClass,
    first: int,
    last: int,
    *,
    best_only: bool,
    tie_errors: TieErrors,
    share_ties: bool,
    device: torch.device,
) -> QueryPositives:
    """Entries for the queries from `first` to `last` (exclusive), with all increments 0.

    Args:
        order: queries and gallery sorted by class.
        first: first query of `order.queries`.
        last: one past the last.
        best_only: one entry per query, its best positive, instead of one per positive.
        tie_errors: of all queries of `order`.
        share_ties: whether tied negatives are counted by themselves.
        device: where scores and counts are kept.
    """
    sizes = order.class_sizes[first:last]
    offsets = torch.zeros(last - first + 1, dtype=torch.int64)
    offsets[1:] = (sizes.clamp_max(1) if best_only else sizes).cumsum(0)
    n_entries = int(offsets[-1])

    def counts() -> Tensor:
        return torch.zeros(n_entries, dtype=torch.int32, device=device)

    return QueryPositives(
        offsets=offsets,
        class_begin=order.class_begin[first:last],
        class_end=order.class_end[first:last],
        queries=order.queries[first:last],
        gallery=order.gallery,
        threshold=torch.empty(n_entries, dtype=torch.float64, device=device),
        position=torch.empty(n_entries, dtype=torch.int32, device=device),
        increments=counts(),
        tie_errors=tie_errors[first:last],
        tied=counts() if share_ties else None,
        n_equal=counts() if share_ties else None,
    )
