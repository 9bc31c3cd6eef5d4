"""Retrieval scores from ranks: Recall@k, R-precision, MAP@R, mean average precision, MRR.

MAP@R: Musgrave, Belongie, Lim 2020, "A Metric Learning Reality Check",
https://arxiv.org/abs/2003.08505, section 3.2. Memory: a few tiles of scores, and one count for
every pair of rows of a class.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_codes
from vmf_embeddings.search.by_class import ByClass, by_class
from vmf_embeddings.search.exact import Similarity, check_comparison
from vmf_embeddings.search.ranks import ProcessGroup, Progress, negatives_before

Cutoff = int | Literal["class_size"]
_BLOCK_ELEMENTS = 2**22


@dataclass(frozen=True)
class RetrievalRows:
    """Scores of every query, in the order of the queries.

    Args:
        first_hit: [Q] int64 rank (1 = nearest) of the first positive (gallery row of the query's
            class); 0 where there is none.
        n_relevant: [Q] int64 R, number of positives, the query itself not counted.
        r_precision: [Q] fraction of positives among the R nearest; NaN where R = 0.
        average_precision_at_r: [Q] (1/R) sum_{i<=R} precision@i hit_i; NaN where R = 0.
        average_precision: [Q] the same sum over the whole gallery; NaN where R = 0.
        average_precision_within: cutoff k -> [Q] (1/R) times the same sum over the k nearest;
            "class_size" stands for k = R + 1, the size of the class with the query.
    """

    first_hit: Tensor
    n_relevant: Tensor
    r_precision: Tensor
    average_precision_at_r: Tensor
    average_precision: Tensor
    average_precision_within: dict[Cutoff, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class RetrievalScores:
    """Means over queries, as fractions.

    Args:
        recall: k -> fraction of queries with a positive among the k nearest. A query without
            positives counts as a miss.
        map_at_r: mean average precision at R over the queries that have one; NaN if none has.
        r_precision: mean R-precision over the same queries.
        mean_average_precision: mean over the same queries of the average precision over the whole
            gallery.
        mean_reciprocal_rank: mean over all queries of 1 / rank of the first positive; 0 for a
            query without positives, as in Recall@k.
        n_queries: Q.
        n_without_positive: queries without positives.
        rows: the scores of every query.
    """

    recall: dict[int, float]
    map_at_r: float
    r_precision: float
    mean_average_precision: float
    mean_reciprocal_rank: float
    n_queries: int
    n_without_positive: int
    rows: RetrievalRows

    def map_within(self, cutoff: Cutoff) -> float:
        """Mean over queries that have a positive of (1/R) sum_{i<=k} precision@i hit_i, in [0, 1].

        k = 1000 is mAP@1000; where R > k it stays below 1 even for a perfect ranking.
        """
        return float(self.rows.average_precision_within[cutoff].nanmean())

    def map_within_reference(self, cutoff: Cutoff) -> float:
        """`map_within` divided by R + 1 instead of R; queries without positives count 0.

        This is what the code of Roth et al. 2020 and 2022 (https://arxiv.org/abs/2002.08473,
        https://arxiv.org/abs/2203.08547) computes, where a perfect ranking scores R / (R + 1):
        their mAP@1000 with k = 1000, their mAP_c with "class_size". For comparison with them.
        """
        factor = self.rows.n_relevant.double() / (self.rows.n_relevant + 1)
        return float((self.rows.average_precision_within[cutoff] * factor).nan_to_num().mean())


def retrieval(
    embeddings: Array,
    labels: Array,
    *,
    similarity: Similarity | None = None,
    metric: str | None = None,
    ks: Sequence[int] = (1,),
    is_query: Array | None = None,
    is_gallery: Array | None = None,
    cutoffs: Sequence[Cutoff] = (),
    only_recall: bool = False,
    process_group: ProcessGroup | None = None,
    progress: Progress | None = None,
) -> RetrievalScores:
    """Rank every query's positives among the gallery; a query is not its own neighbour.

    Ranks are those of float64 similarities; of equal ones the lowest row number comes first.

    Args:
        embeddings: [N, D], projected for the similarity (`Geometry.project`).
        labels: [N] of any sortable type: integers (not necessarily contiguous), text, ….
        similarity: takes [Q, D] and [G, D] in float64, gives [Q, G], larger is closer.
        metric: "ip" or "l2" instead of `similarity`, if it gives the same order; faster.
        ks: the k of Recall@k, each >= 1.
        is_query: [N] bool, query rows; None = all.
        is_gallery: [N] bool, gallery rows; None = all. A query that is also a gallery row is left
            out of its own ranking, by its index.
        cutoffs: the k of `map_within`, each >= 1, or "class_size".
        only_recall: rank the nearest positive only; all scores but Recall@k and the mean
            reciprocal rank are then NaN.
        process_group: processes that divide the work, see `search.ranks`.
        progress: called with the fraction of the work that is done, in (0, 1].

    Returns:
        Means over queries, and the scores of every query.

    Raises:
        ValueError: shapes differ, there is no query or no gallery row, k < 1, values are not
            finite, or cutoffs are given with `only_recall`.

    >>> rows = [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9], [0.6, 0.4]]
    >>> scores = retrieval(rows, ["a", "a", "b", "b", "b"], metric="l2", ks=(1, 3))
    >>> scores.recall, round(scores.map_at_r, 3), round(scores.mean_average_precision, 3)
    ({1: 0.8, 3: 1.0}, 0.8, 0.883)
    >>> scores = retrieval(rows, ["a", "a", "b", "b", "b"], metric="l2", cutoffs=(2,))
    >>> round(scores.map_within(2), 3), round(scores.map_within_reference(2), 3)
    (0.8, 0.467)
    """
    embeddings = torch.as_tensor(embeddings).detach()
    queries, gallery = _rows(is_query, len(embeddings)), _rows(is_gallery, len(embeddings))
    _check(embeddings, labels, queries, gallery, ks)
    _check_cutoffs(cutoffs, only_recall)
    check_comparison(metric, similarity)
    order = by_class(as_codes(labels), queries, gallery)
    rows = _no_scores(order, cutoffs)
    ranked = negatives_before(
        embeddings, order, metric=metric, similarity=similarity, best_only=only_recall,
        process_group=process_group, progress=progress,
    )  # fmt: skip
    for first, last, before in ranked:
        _score(rows, order, first, last, before, only_recall)
    return _means(rows, ks)


def _no_scores(order: ByClass, cutoffs: Sequence[Cutoff]) -> RetrievalRows:
    """The scores of queries without positives, for all queries."""
    unknown = torch.full((len(order.queries),), torch.nan, dtype=torch.float64)
    n_relevant = torch.empty_like(order.n_relevant)
    n_relevant[order.query_positions] = order.n_relevant
    within = {cutoff: unknown.clone() for cutoff in cutoffs}
    usual = [unknown.clone() for _ in range(3)]
    return RetrievalRows(torch.zeros_like(n_relevant), n_relevant, *usual, within)


def _score(
    rows: RetrievalRows, order: ByClass, first: int, last: int, before: Tensor, only_recall: bool
) -> None:
    """Set the scores of queries first to last from the negatives before each class row [q, n]."""
    n_relevant, positions = order.n_relevant[first:last], order.query_positions[first:last]
    for r in n_relevant.unique().tolist():
        if r == 0:
            continue
        chosen = (n_relevant == r).nonzero().squeeze(1)
        for part in chosen.split(max(1, _BLOCK_ELEMENTS // r)):
            # a query in the gallery comes first in its own class and is left out here
            ranks = before[part.to(before.device)][:, -1 if only_recall else -r :].cpu()
            ranks = ranks + torch.arange(1, ranks.shape[1] + 1)
            rows.first_hit[positions[part]] = ranks[:, 0]
            if not only_recall:
                _score_class(rows, positions[part], ranks)


def _score_class(rows: RetrievalRows, places: Tensor, ranks: Tensor) -> None:
    """Set the scores of the queries `places` [q] from the ranks [q, R] of their positives."""
    n_relevant = ranks.shape[1]
    precision = torch.arange(1, n_relevant + 1, dtype=torch.float64) / ranks
    found = ranks <= n_relevant
    rows.r_precision[places] = found.double().mean(1)
    rows.average_precision_at_r[places] = (precision * found).sum(1) / n_relevant
    rows.average_precision[places] = precision.sum(1) / n_relevant
    for cutoff, values in rows.average_precision_within.items():
        most = n_relevant + 1 if cutoff == "class_size" else cutoff
        values[places] = (precision * (ranks <= most)).sum(1) / n_relevant


def _means(rows: RetrievalRows, ks: Sequence[int]) -> RetrievalScores:
    hit = rows.first_hit >= 1
    reciprocal = torch.where(hit, 1 / rows.first_hit.double(), 0.0)
    return RetrievalScores(
        recall={int(k): float((hit & (rows.first_hit <= k)).double().mean()) for k in ks},
        map_at_r=float(rows.average_precision_at_r.nanmean()),
        r_precision=float(rows.r_precision.nanmean()),
        mean_average_precision=float(rows.average_precision.nanmean()),
        mean_reciprocal_rank=float(reciprocal.mean()),
        n_queries=len(rows.first_hit),
        n_without_positive=int((rows.n_relevant == 0).sum()),
        rows=rows,
    )


def _rows(mask: Array | None, n_rows: int) -> Tensor:
    if mask is None:
        return torch.arange(n_rows)
    mask = torch.as_tensor(mask)
    if mask.shape != (n_rows,) or mask.dtype != torch.bool:
        raise ValueError(
            f"query and gallery masks must be bool [{n_rows}], got {mask.dtype} {list(mask.shape)}"
        )
    return mask.cpu().nonzero().squeeze(1)


def _check(
    embeddings: Tensor, labels: Array, queries: Tensor, gallery: Tensor, ks: Sequence[int]
) -> None:
    if embeddings.ndim != 2 or len(embeddings) != len(labels):
        raise ValueError(
            f"embeddings must be [N, D] and labels [N], got {list(embeddings.shape)} "
            f"and {len(labels)} labels"
        )
    if len(queries) == 0 or len(gallery) == 0:
        raise ValueError(
            f"{len(queries)} queries and {len(gallery)} gallery rows: need some of each"
        )
    if not torch.isfinite(embeddings).all():
        raise ValueError("the embeddings hold NaN or infinite values, so neighbours are undefined")
    if not ks or min(ks) < 1:
        raise ValueError(f"the k of Recall@k must be 1 or more, got {list(ks)}")


def _check_cutoffs(cutoffs: Sequence[Cutoff], only_recall: bool) -> None:
    if only_recall and cutoffs:
        raise ValueError("cutoffs need all ranks of a class: leave only_recall out")
    for cutoff in cutoffs:
        if cutoff != "class_size" and (isinstance(cutoff, str) or cutoff < 1):
            raise ValueError(f'a cutoff is a whole number >= 1 or "class_size", got {cutoff!r}')
