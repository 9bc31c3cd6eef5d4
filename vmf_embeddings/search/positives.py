"""The positives of a range of queries: their exact scores, and counts of negatives before them.

The positives of a query are the gallery rows of its class, its negatives all other gallery rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings.search.by_class import ByClass


@dataclass
class QueryPositives:
    """One entry for every (query, positive), grouped by query; P entries for Q queries.

    Args:
        offsets: [Q + 1] first entry of each query; the last value is P.
        class_begin: [Q] where the query's class begins in `gallery`.
        class_end: [Q] where it ends (exclusive).
        queries: [Q] row numbers.
        gallery: [G] row numbers, sorted by class.
        threshold: [P] float64 score of the positive, descending within a query. A query that is
            in the gallery has itself as an entry, with score +inf: no negative comes before it.
        position: [P] int32, place of the positive in its class, counted from `class_begin`.
        increments: [P] int32, how many negatives rank between the previous positive of the query
            and this one; their cumulative sum is the number of negatives before the positive.
    """

    offsets: Tensor
    class_begin: Tensor
    class_end: Tensor
    queries: Tensor
    gallery: Tensor
    threshold: Tensor
    position: Tensor
    increments: Tensor

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

    def fill(self, first: int, last: int, scores: Tensor, self_positions: Tensor) -> None:
        """Set `threshold` and `position` of the queries from `first` to `last` (exclusive).

        Args:
            first: first query.
            last: one past the last query.
            scores: [last - first, n] float64 scores of the class's rows, in the order of the
                gallery; overwritten.
            self_positions: [last - first] which of the n rows is the query itself, -1 for none.
        """
        thresholds = self.view(self.threshold, first, last)
        best_only = thresholds.shape[1] < scores.shape[1]
        in_gallery = (self_positions >= 0).nonzero().squeeze(1)
        scores[in_gallery, self_positions[in_gallery]] = -torch.inf if best_only else torch.inf
        if best_only:
            # max() may return any of several equal scores; the first is wanted
            value = scores.amax(1, keepdim=True)
            position = (scores == value).byte().argmax(1, keepdim=True)
        else:
            value, position = sort_descending(scores)
        thresholds.copy_(value)
        self.view(self.position, first, last).copy_(position)


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


def allocate_positives(
    order: ByClass, first: int, last: int, *, best_only: bool, device: torch.device
) -> QueryPositives:
    """Entries for the queries from `first` to `last` (exclusive), with all increments 0.

    Args:
        order: queries and gallery sorted by class.
        first: first query of `order.queries`.
        last: one past the last.
        best_only: one entry per query, its best positive, instead of one per positive.
        device: where scores and counts are kept.
    """
    sizes = order.class_sizes[first:last]
    offsets = torch.zeros(last - first + 1, dtype=torch.int64)
    offsets[1:] = (sizes.clamp_max(1) if best_only else sizes).cumsum(0)
    n_entries = int(offsets[-1])
    return QueryPositives(
        offsets=offsets,
        class_begin=order.class_begin[first:last],
        class_end=order.class_end[first:last],
        queries=order.queries[first:last],
        gallery=order.gallery,
        threshold=torch.empty(n_entries, dtype=torch.float64, device=device),
        position=torch.empty(n_entries, dtype=torch.int32, device=device),
        increments=torch.zeros(n_entries, dtype=torch.int32, device=device),
    )
