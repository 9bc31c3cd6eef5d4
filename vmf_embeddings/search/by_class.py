"""Queries and gallery sorted by class, so that every class is one contiguous range of rows."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ByClass:
    """Rows sorted by class, classes by their number of gallery rows, then of queries.

    Args:
        queries: [Q] row numbers of the queries, in sorted order.
        gallery: [G] row numbers of the gallery, in sorted order; ascending within a class.
        query_positions: [Q] index that each sorted query had among the queries as given.
        class_begin: [Q] where the query's class begins in `gallery`.
        class_end: [Q] where it ends (exclusive).
        excluded: [2, E] pairs (index in `queries`, index in `gallery`), ascending, that are never
            compared: a query with itself, and with rows of the same image.
    """

    queries: Tensor
    gallery: Tensor
    query_positions: Tensor
    class_begin: Tensor
    class_end: Tensor
    excluded: Tensor

    @property
    def symmetric(self) -> bool:
        """Whether queries and gallery are the same rows, and therefore in the same order."""
        return torch.equal(self.queries, self.gallery)

    @property
    def class_sizes(self) -> Tensor:
        """Gallery rows of each query's class [Q], excluded ones included; ascending."""
        return self.class_end - self.class_begin

    @property
    def n_relevant(self) -> Tensor:
        """R of each query [Q]: `class_sizes` without excluded rows."""
        n_excluded = torch.bincount(self.excluded_positives[0], minlength=len(self.queries))
        return self.class_sizes - n_excluded

    @property
    def excluded_positives(self) -> Tensor:
        """The excluded pairs of one class [2, E']."""
        return self.excluded[:, self._of_one_class]

    @property
    def excluded_negatives(self) -> Tensor:
        """The excluded pairs of two classes [2, E']."""
        return self.excluded[:, ~self._of_one_class]

    @property
    def _of_one_class(self) -> Tensor:
        query, place = self.excluded
        return (place >= self.class_begin[query]) & (place < self.class_end[query])


def pairs_from(pairs: Tensor, first: int, last: int) -> Tensor:
    """Those of the ascending pairs [2, E] whose first number is in first..last - 1."""
    limits = torch.tensor([first, last])
    begin, end = torch.searchsorted(pairs[0], limits).tolist()
    return pairs[:, begin:end]


def exclude(scores: Tensor, pairs: Tensor, row: int, column: int = 0) -> None:
    """Set the scores of excluded pairs to -inf, in place.

    Args:
        scores: [I, J] of query `row` + i and gallery row `column` + j.
        pairs: [2, E] (query, gallery row), of any gallery rows.
        row: query of line 0.
        column: gallery row of column 0.
    """
    query, place = pairs
    inside = (place >= column) & (place < column + scores.shape[1])
    i, j = (query[inside] - row).to(scores.device), (place[inside] - column).to(scores.device)
    scores[i, j] = -torch.inf


def by_class(
    codes: Tensor, queries: Tensor, gallery: Tensor, images: Tensor | None = None
) -> ByClass:
    """Sort rows by class.

    Args:
        codes: [N] class numbers from 0.
        queries: [Q] ascending row numbers.
        gallery: [G] ascending row numbers.
        images: [N] number of the image that each row shows: a query is compared with no row of
            its own image. None where every row shows another one.
    """
    n_classes = int(codes.max()) + 1
    n_queries = torch.bincount(codes[queries], minlength=n_classes)
    n_gallery = torch.bincount(codes[gallery], minlength=n_classes)
    order = (n_gallery * (len(queries) + 1) + n_queries).argsort(stable=True)
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(n_classes))
    query_positions = rank[codes[queries]].argsort(stable=True)
    queries = queries[query_positions]
    gallery = gallery[rank[codes[gallery]].argsort(stable=True)]
    ends = n_gallery[order].cumsum(0)
    class_end = ends[rank[codes[queries]]]
    class_begin = class_end - n_gallery[codes[queries]]
    images = torch.arange(len(codes)) if images is None else images
    excluded = equal_pairs(images[queries], images[gallery])
    return ByClass(queries, gallery, query_positions, class_begin, class_end, excluded)


def equal_pairs(left: Tensor, right: Tensor) -> Tensor:
    """All pairs (i, j) [2, E] with left[i] == right[j], ascending.

    >>> equal_pairs(torch.tensor([5, 7, 5]), torch.tensor([5, 5, 8])).tolist()
    [[0, 0, 2, 2], [0, 1, 0, 1]]
    """
    order = right.argsort(stable=True)
    values = right[order]
    begin = torch.searchsorted(values, left)
    counts = torch.searchsorted(values, left, right=True) - begin
    i = torch.arange(len(left)).repeat_interleave(counts)
    # the n-th pair of left[i] is the n-th equal value of `right`
    number = torch.arange(len(i)) - (counts.cumsum(0) - counts)[i]
    return torch.stack([i, order[begin[i] + number]])
