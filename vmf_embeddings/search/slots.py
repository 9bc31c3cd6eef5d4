"""What is counted: one slot for every query and every gallery row of its class."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings.search.by_class import ByClass


@dataclass
class Slots:
    """The scores that rows of other classes are held against, for a range of queries; P slots.

    Args:
        first: [Q + 1] where each query's slots begin; the last is P.
        low: [Q] where the query's class begins in the gallery.
        high: [Q] where it ends.
        queries: [Q] row numbers.
        gallery: [G] row numbers.
        threshold: [P] float64 scores of the query's class, descending within a query. The query
            itself scores +inf, so that nothing comes before it.
        place: [P] int32, which row of the class that is, counted from `low`.
        count: [P] int32: entry k is how many rows come before slot k but not before slot k - 1.
    """

    first: Tensor
    low: Tensor
    high: Tensor
    queries: Tensor
    gallery: Tensor
    threshold: Tensor
    place: Tensor
    count: Tensor

    def runs(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """Ranges (first, last, n) of queries whose class has n gallery rows, n >= 1."""
        sizes = self.high[first:last] - self.low[first:last]
        values, counts = sizes.unique_consecutive(return_counts=True)
        for size, count in zip(values.tolist(), counts.tolist(), strict=True):
            if size:
                yield first, first + count, size
            first += count

    def most(self, first: int, last: int) -> int:
        """Most slots that a query from `first` to `last` has."""
        return int(self.first[first : last + 1].diff().max())

    def of(self, values: Tensor, first: int, last: int) -> Tensor:
        """The values [P] of queries with equally many slots, as [last - first, number]."""
        return values[int(self.first[first]) : int(self.first[last])].view(last - first, -1)

    def fill(self, first: int, last: int, scores: Tensor, own: Tensor) -> None:
        """Take the scores of the rows of their class for the queries from `first` to `last`.

        Args:
            first: first query.
            last: behind the last.
            scores: [last - first, n] float64, in the order of the gallery; changed in place.
            own: [last - first] which of them is the query itself, -1 for none.
        """
        thresholds = self.of(self.threshold, first, last)
        best_only = thresholds.shape[1] < scores.shape[1]
        itself = (own >= 0).nonzero().squeeze(1)
        scores[itself, own[itself]] = -torch.inf if best_only else torch.inf
        if best_only:
            # max() does not promise the first of equal scores
            value = scores.amax(1, keepdim=True)
            place = (scores == value).byte().argmax(1, keepdim=True)
        else:
            value, place = descending(scores)
        thresholds.copy_(value)
        self.of(self.place, first, last).copy_(place)


def descending(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Lines [I, J] sorted, largest first, and where they stood; equal scores by place.

    On the processor NumPy sorts, several times as fast as torch, but not stably: lines with equal
    scores are sorted again.
    """
    if scores.is_cuda:
        return scores.sort(dim=1, descending=True, stable=True)
    place = torch.from_numpy((-scores).numpy().argsort(axis=1))
    value = scores.gather(1, place)
    tied = (value[:, 1:] == value[:, :-1]).any(1)
    if tied.any():
        value[tied], place[tied] = scores[tied].sort(dim=1, descending=True, stable=True)
    return value, place


def empty_slots(
    order: ByClass, first: int, last: int, *, best_only: bool, device: torch.device
) -> Slots:
    """Room for the slots of the queries from `first` to `last`; one for each if `best_only`."""
    sizes = order.n_slots[first:last]
    edges = torch.zeros(last - first + 1, dtype=torch.int64)
    edges[1:] = (sizes.clamp_max(1) if best_only else sizes).cumsum(0)
    n_slots = int(edges[-1])
    return Slots(
        first=edges,
        low=order.low[first:last],
        high=order.high[first:last],
        queries=order.queries[first:last],
        gallery=order.gallery,
        threshold=torch.empty(n_slots, dtype=torch.float64, device=device),
        place=torch.empty(n_slots, dtype=torch.int32, device=device),
        count=torch.zeros(n_slots, dtype=torch.int32, device=device),
    )
