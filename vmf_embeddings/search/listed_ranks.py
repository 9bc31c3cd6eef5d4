"""`Ranked` from lists of neighbours: what precedes the positives that an index finds.

A positive that is in no list counts as ranked after the whole gallery, so that scores of the k
nearest (Recall@k, R-precision, MAP@R) are those of the lists; scores of all ranks would be wrong.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from vmf_embeddings.search.approximate import ApproximateIndex
from vmf_embeddings.search.by_class import ByClass
from vmf_embeddings.search.positives import merge_close, run_lengths
from vmf_embeddings.search.products import Products
from vmf_embeddings.search.ranks import MAX_COUNTS, Progress, Ranked
from vmf_embeddings.search.tie_errors import TieErrors

AFTER_ALL = torch.iinfo(torch.int32).max  # rank of a positive that is in no list


def excluded_places(order: ByClass) -> Tensor:
    """Places in the ascending gallery that a query is not compared with [Q, E]; -1 for none."""
    query, place = order.excluded
    counts = torch.bincount(query, minlength=len(order.queries))
    places = torch.full((len(counts), max(1, int(counts.max()))), -1)
    column = torch.arange(len(query)) - (counts.cumsum(0) - counts)[query]
    ascending = order.gallery.sort().values
    places[query, column] = torch.searchsorted(ascending, order.gallery[place])
    return places


def ranks_from_lists(
    index: ApproximateIndex,
    rows: Tensor,
    codes: Tensor,
    order: ByClass,
    *,
    share_ties: bool,
    progress: Progress | None = None,
) -> Iterator[Ranked]:
    """What an index finds to precede each positive; as `search.ranks.negatives_before` yields it.

    Args:
        index: over the gallery rows in ascending order.
        rows: [N, D] on the CPU.
        codes: [N] class numbers.
        order: queries and gallery sorted by class.
        share_ties: whether rows of equal score share their ranks, or the lower row number is first.
        progress: called with the fraction of the work that is done, in (0, 1].

    Yields:
        Counts for all queries that have gallery rows of their class, in the order of `order`.
    """
    work = _Lists(index, rows, codes, order, share_ties)
    sizes, counts = order.class_sizes.unique_consecutive(return_counts=True)
    last = 0
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        first, last = last, last + count
        if size == 0:
            continue
        for part in torch.arange(first, last).split(max(1, MAX_COUNTS // size)):
            yield work.ranked(part, size)
            if progress is not None:
                progress((int(part[-1]) + 1) / len(order.queries))


class _Lists:
    """The queries and the gallery of `ranks_from_lists`, prepared."""

    def __init__(
        self, index: ApproximateIndex, rows: Tensor, codes: Tensor, order: ByClass, share_ties: bool
    ) -> None:
        self.index, self.rows, self.codes, self.order = index, rows, codes, order
        self.share_ties = share_ties
        self.of_gallery = codes[order.gallery.sort().values]
        self.exclude = excluded_places(order)
        self.n_relevant = order.n_relevant
        self.errors = TieErrors.none(len(order.queries))
        if share_ties:
            self.errors = Products(rows, index.metric).tie_errors(order)

    def ranked(self, part: Tensor, size: int) -> Ranked:
        """Counts of consecutive queries [q], whose classes have `size` gallery rows."""
        queries, errors = self.order.queries[part], self.errors[part]
        n_relevant = self.n_relevant[part]
        block = [torch.zeros((len(part), size), dtype=torch.int64) for _ in range(3)]
        for numbers, columns, scores in self.index.lists(
            self.rows[queries], self.exclude[part], errors.largest
        ):
            own = self.codes[queries[numbers], None] == self.of_gallery[columns.clamp_min(0)]
            if self.index.metric == "l2":
                scores = scores / 2  # as the errors are of half squared distances
            lists = own & (scores > -torch.inf), scores, n_relevant[numbers], size
            if self.share_ties:
                counts = _sharing_ties(*lists, errors[numbers])
                for target, values in zip(block, counts, strict=True):
                    target[numbers] = values
            else:
                block[0][numbers] = _by_index(*lists)
        ties = block[1:] if self.share_ties else (None, None)
        return Ranked(int(part[0]), int(part[-1]) + 1, block[0], *ties)


def _columns_of_positives(own: Tensor, n_relevant: Tensor, size: int) -> tuple[Tensor, ...]:
    """Where positives of lists [q, n] are (line, column), and their column among `size` counts.

    The R positives of a query take the last R columns: rows of the class that are not compared with
    it stand before them.
    """
    line, column = own.nonzero(as_tuple=True)
    place = own.cumsum(1)[line, column] - 1 + size - n_relevant[line]
    return line, column, place


def _by_index(own: Tensor, scores: Tensor, n_relevant: Tensor, size: int) -> Tensor:
    """Negatives before each positive [q, size], in the order of the lists [q, n]."""
    line, column, place = _columns_of_positives(own, n_relevant, size)
    before = torch.full((len(own), size), AFTER_ALL)
    before[line, place] = (~own).cumsum(1)[line, column]
    return before


def _sharing_ties(
    own: Tensor, scores: Tensor, n_relevant: Tensor, size: int, tie_errors: TieErrors
) -> tuple[Tensor, Tensor, Tensor]:
    """Negatives before and tied with each positive, positives of its score, each [q, size]."""
    line, column, place = _columns_of_positives(own, n_relevant, size)
    values = torch.full((len(own), size), -torch.inf, dtype=torch.float64)
    values[line, place] = scores[line, column]
    values[torch.arange(size) < size - n_relevant[:, None]] = torch.inf
    values = merge_close(values, tie_errors)
    errors = tie_errors.at(values)
    negatives = torch.where(own, -torch.inf, scores).neg().sort(dim=1).values
    before = torch.searchsorted(negatives, -(values + errors))
    tied = torch.searchsorted(negatives, -(values - errors), right=True) - before
    is_missing = values == -torch.inf
    before[is_missing], tied[is_missing] = AFTER_ALL, 0
    return before, tied, run_lengths(values)
