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
        self_positions: [Q] index of the query itself in `gallery`, -1 where it is not in it.
    """

    queries: Tensor
    gallery: Tensor
    query_positions: Tensor
    class_begin: Tensor
    class_end: Tensor
    self_positions: Tensor

    @property
    def symmetric(self) -> bool:
        """Whether queries and gallery are the same rows, and therefore in the same order."""
        return torch.equal(self.queries, self.gallery)

    @property
    def class_sizes(self) -> Tensor:
        """Gallery rows of each query's class [Q], the query itself included; ascending."""
        return self.class_end - self.class_begin

    @property
    def n_relevant(self) -> Tensor:
        """R of each query [Q]: `class_sizes` without the query itself."""
        return self.class_sizes - (self.self_positions >= 0).long()


def by_class(codes: Tensor, queries: Tensor, gallery: Tensor) -> ByClass:
    """Sort rows by class.

    Args:
        codes: [N] class numbers from 0.
        queries: [Q] ascending row numbers.
        gallery: [G] ascending row numbers.
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
    gallery_index = torch.full((len(codes),), -1).scatter_(0, gallery, torch.arange(len(gallery)))
    class_begin = class_end - n_gallery[codes[queries]]
    return ByClass(
        queries, gallery, query_positions, class_begin, class_end, gallery_index[queries]
    )
