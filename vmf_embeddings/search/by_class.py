"""Queries and gallery in the order of their classes, so that every class is one range of rows."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ByClass:
    """Rows sorted by class, classes by how many gallery rows (then queries) they have.

    Args:
        queries: [Q] numbers of the rows that ask, in this order.
        gallery: [G] numbers of the rows that are searched; within a class they ascend.
        places: [Q] where each query of this order stands among the queries as they were given.
        low: [Q] where the query's class begins in `gallery`.
        high: [Q] where it ends.
        own: [Q] where the query itself stands in `gallery`, -1 where it does not.
    """

    queries: Tensor
    gallery: Tensor
    places: Tensor
    low: Tensor
    high: Tensor
    own: Tensor

    @property
    def symmetric(self) -> bool:
        """Whether queries and gallery are the same rows, and so stand in the same order."""
        return torch.equal(self.queries, self.gallery)

    @property
    def n_slots(self) -> Tensor:
        """Gallery rows of each query's class [Q], itself included; ascending."""
        return self.high - self.low

    @property
    def n_relevant(self) -> Tensor:
        """R of each query [Q]: `n_slots` without the query itself."""
        return self.n_slots - (self.own >= 0).long()


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
    places = rank[codes[queries]].argsort(stable=True)
    queries = queries[places]
    gallery = gallery[rank[codes[gallery]].argsort(stable=True)]
    ends = n_gallery[order].cumsum(0)
    high = ends[rank[codes[queries]]]
    stands = torch.full((len(codes),), -1).scatter_(0, gallery, torch.arange(len(gallery)))
    low = high - n_gallery[codes[queries]]
    return ByClass(queries, gallery, places, low, high, stands[queries])
