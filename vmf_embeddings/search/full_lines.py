"""Counts of negatives before positives from whole lines of float64 scores, by any similarity."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vmf_embeddings import native
from vmf_embeddings.search.by_class import ByClass, exclude, pairs_from
from vmf_embeddings.search.counting import count_tile
from vmf_embeddings.search.exact import METRICS, Similarity, first_identical_row
from vmf_embeddings.search.pair_scores import ExactScorer
from vmf_embeddings.search.positives import QueryPositives
from vmf_embeddings.search.process_group import ProcessGroup
from vmf_embeddings.search.tie_errors import TieErrors, product_error

MAX_SCORES = 2**22  # similarities held at once: 32 MiB


class FullLineCounts:
    """Counts from float64 similarities of each query to the whole gallery, on any device."""

    def __init__(
        self,
        rows: Tensor,
        metric: str | None,
        similarity: Similarity | None,
        order: ByClass,
        process_group: ProcessGroup,
        share_ties: bool,
    ) -> None:
        self.rows, self.order, self.process_group = rows, order, process_group
        self.similarity = similarity or METRICS[str(metric)]
        self.tie_errors = TieErrors.none(len(order.queries))
        if share_ties and metric is not None:
            self.tie_errors = _product_errors(rows, metric, order)
        self.negatives = order.excluded_negatives
        self.gallery = rows[order.gallery.to(rows.device)].double()
        self.first_copy = first_identical_row(self.gallery)
        first_copy = torch.arange(len(rows))
        if self.first_copy is not None:
            first_copy[order.gallery] = order.gallery[self.first_copy.cpu()]
        self.scorer = ExactScorer(first_copy, compiled=native.enabled(len(rows) ** 2))

    def max_queries(self) -> int:
        """Queries whose scores fit in memory, in all processes together."""
        return self.process_group.size * max(1, MAX_SCORES // len(self.gallery))

    def count(self, positives: QueryPositives, first: int, last: int) -> Iterator[float]:
        """Count for this process's part of the queries from `first` to `last`; yields 1.0 once."""
        n, rank = self.process_group.size, self.process_group.rank
        begin, end = (last - first) * rank // n, (last - first) * (rank + 1) // n
        if begin < end:
            queries = self.rows[positives.queries[begin:end].to(self.rows.device)].double()
            scores = self.similarity(queries, self.gallery)
            if self.first_copy is not None:
                scores = scores[:, self.first_copy]
            exclude(scores, pairs_from(self.negatives, first + begin, first + end), first + begin)
            own = pairs_from(self.order.excluded_positives, first, last)
            query, place = own - torch.tensor([[first], [0]])
            own = torch.stack([query, place - positives.class_begin[query]])
            for start, stop, size in positives.equal_size_ranges(begin, end):
                class_begin = positives.class_begin[start:stop]
                columns = (class_begin[:, None] + torch.arange(size)).to(scores.device)
                of_class = scores[start - begin : stop - begin].gather(1, columns)
                part = pairs_from(own, start, stop) - torch.tensor([[start], [0]])
                positives.fill(start, stop, of_class, part)
            error = self.tie_errors.largest[first:last]
            count_tile(scores.contiguous(), begin, 0, positives, error, self.scorer)
        yield 1.0

    def add_over_processes(self, positives: QueryPositives) -> None:
        """Sum the counts of all processes; each has counted for its own queries."""
        for counts in (positives.increments, positives.tied, positives.n_equal):
            if counts is not None:
                self.process_group.add(counts)


def _product_errors(rows: Tensor, metric: str, order: ByClass) -> TieErrors:
    """`Products.tie_errors` for the float64 scores of `METRICS`, on the CPU."""
    norms = torch.cat([part.double().norm(dim=1) for part in rows.split(4096)]).cpu()
    queries, longest, dim = norms[order.queries], norms[order.gallery].max(), rows.shape[1]
    if metric == "ip":
        return TieErrors.of_products(2 * product_error(dim) * queries * longest)
    largest = product_error(dim) * (queries + longest).square()
    return TieErrors.of_distances(largest, queries, dim).scaled(2)  # scores are -d^2, not half
