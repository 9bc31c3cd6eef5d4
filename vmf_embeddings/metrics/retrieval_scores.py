"""Retrieval scores of every query from the ranks of its positives, and their means."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from vmf_embeddings.metrics import ties as tied_ranks
from vmf_embeddings.metrics.ranking import RankingAt, Rankings
from vmf_embeddings.search.by_class import ByClass
from vmf_embeddings.search.ranks import Ranked

Cutoff = int | Literal["class_size"]
_BLOCK_ELEMENTS = 2**22


@dataclass(frozen=True)
class RetrievalRows:
    """Scores of every query, in the order of the queries.

    Args:
        first_hit: [Q] int64 rank (1 = nearest) of the first positive (gallery row of the query's
            class); 0 where there is none. Its best rank, where it is tied with negatives.
        n_relevant: [Q] int64 R, number of positives; the query itself and rows of its own image are
            not counted.
        r_precision: [Q] fraction of positives among the R nearest; NaN where R = 0.
        average_precision_at_r: [Q] (1/R) sum_{i<=R} precision@i hit_i; NaN where R = 0.
        average_precision: [Q] the same sum over the whole gallery; NaN where R = 0.
        recall: k -> [Q] 1 where a positive is among the k nearest, 0 where none is; between them,
            the probability of it, where the k nearest end among tied rows.
        reciprocal_rank: [Q] 1 / rank of the first positive; 0 where there is none.
        tied: [Q] bool, whether a positive has the score of a negative; False for all where ties go
            by row number.
        average_precision_within: cutoff k -> [Q] (1/R) times the same sum over the k nearest;
            "class_size" stands for k = R + 1, the size of the class with the query.
        ranking: k -> nDCG@k and others.
        inverse_negative_penalty: [Q] R / rank of the last positive; NaN where R = 0, and where no
            ranking was asked for.
    """

    first_hit: Tensor
    n_relevant: Tensor
    r_precision: Tensor
    average_precision_at_r: Tensor
    average_precision: Tensor
    recall: dict[int, Tensor]
    reciprocal_rank: Tensor
    tied: Tensor
    average_precision_within: dict[Cutoff, Tensor] = field(default_factory=dict)
    ranking: dict[int, RankingAt] = field(default_factory=dict)
    inverse_negative_penalty: Tensor | None = None


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
        n_same_image: queries for which rows of their own image were left out.
        rows: the scores of every query.
    """

    recall: dict[int, float]
    map_at_r: float
    r_precision: float
    mean_average_precision: float
    mean_reciprocal_rank: float
    n_queries: int
    n_without_positive: int
    n_same_image: int
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


@dataclass(frozen=True)
class Ranks:
    """What the scores of every query, in the order of the queries, are computed from.

    Args:
        first_hit: [Q], see `RetrievalRows`.
        n_relevant: [Q], see `RetrievalRows`.
        r_precision: [Q], see `RetrievalRows`.
        average_precision_at_r: [Q], see `RetrievalRows`.
        average_precision: [Q], see `RetrievalRows`.
        average_precision_within: cutoff -> [Q], see `RetrievalRows`.
        n_positives: [Q] int64 positives of the score of the nearest one, itself included.
        n_negatives: [Q] int64 negatives of that score.
        tied: [Q] bool, whether any positive has the score of a negative.
        rankings: of the k nearest rows.
    """

    first_hit: Tensor
    n_relevant: Tensor
    r_precision: Tensor
    average_precision_at_r: Tensor
    average_precision: Tensor
    average_precision_within: dict[Cutoff, Tensor]
    n_positives: Tensor
    n_negatives: Tensor
    tied: Tensor
    rankings: Rankings


def no_ranks(order: ByClass, cutoffs: Sequence[Cutoff], ranking_ks: Sequence[int] = ()) -> Ranks:
    """The values of queries without positives, for all queries."""
    unknown = torch.full((len(order.queries),), torch.nan, dtype=torch.float64)
    n_relevant = torch.empty_like(order.n_relevant)
    n_relevant[order.query_positions] = order.n_relevant
    within = {cutoff: unknown.clone() for cutoff in cutoffs}
    usual = [unknown.clone() for _ in range(3)]
    none = torch.zeros_like(n_relevant)
    tied = torch.ones_like(none), none.clone(), none.bool()
    rankings = Rankings(ranking_ks, len(n_relevant))
    return Ranks(none, n_relevant, *usual, within, *tied, rankings)


def add_ranks(ranks: Ranks, order: ByClass, ranked: Ranked, only_recall: bool) -> None:
    """Set the values of some queries from the counts of each class row [q, n]."""
    queries = slice(ranked.first, ranked.last)
    n_relevant, positions = order.n_relevant[queries], order.query_positions[queries]
    for r in n_relevant.unique().tolist():
        if r == 0:
            continue
        chosen = (n_relevant == r).nonzero().squeeze(1)
        for part in chosen.split(max(1, _BLOCK_ELEMENTS // r)):
            # rows that are not compared with the query come first in its class, left out here
            columns = slice(-1 if only_recall else -r, None)
            before, tied, n_equal = (
                None if counts is None else counts[part.to(counts.device)][:, columns].cpu().long()
                for counts in (ranked.before, ranked.tied, ranked.n_equal)
            )
            assert before is not None
            places = positions[part]
            ranks.first_hit[places] = before[:, 0] + 1
            if not only_recall:
                _score_class(ranks, places, before + torch.arange(1, r + 1))
            if tied is not None and n_equal is not None and bool(tied.any()):
                lines = tied.any(1).nonzero().squeeze(1)
                counts = before[lines], tied[lines], n_equal[lines]
                _score_tied(ranks, places[lines], *counts, only_recall)


def _score_class(rows: Ranks, places: Tensor, ranks: Tensor) -> None:
    """Set the scores of the queries `places` [q] from the ranks [q, R] of their positives."""
    n_relevant = ranks.shape[1]
    precision = torch.arange(1, n_relevant + 1, dtype=torch.float64) / ranks
    found = ranks <= n_relevant
    rows.r_precision[places] = found.double().mean(1)
    rows.average_precision_at_r[places] = (precision * found).sum(1) / n_relevant
    rows.average_precision[places] = precision.sum(1) / n_relevant
    for cutoff, values in rows.average_precision_within.items():
        most = _limit(cutoff, n_relevant)
        values[places] = (precision * (ranks <= most)).sum(1) / n_relevant
    rows.rankings.add(places, ranks)


def _score_tied(
    rows: Ranks, places: Tensor, before: Tensor, tied: Tensor, n_equal: Tensor, only_recall: bool
) -> None:
    """Set the values of queries `places` [q] with ties, from the counts [q, R] of `Ranked`."""
    rows.tied[places] = True
    rows.n_positives[places], rows.n_negatives[places] = n_equal[:, 0], tied[:, 0]
    if only_recall:
        return
    runs, n_relevant = tied_ranks.runs_of(before, tied, n_equal), before.shape[1]

    def average_precision(cutoff: float) -> Tensor:
        return tied_ranks.average_precision_sum(runs, cutoff) / n_relevant

    rows.r_precision[places] = tied_ranks.precision_sum(runs, n_relevant) / n_relevant
    rows.average_precision_at_r[places] = average_precision(n_relevant)
    rows.average_precision[places] = average_precision(float("inf"))
    for cutoff, values in rows.average_precision_within.items():
        values[places] = average_precision(_limit(cutoff, n_relevant))
    rows.rankings.add_tied(places, runs)


def _limit(cutoff: Cutoff, n_relevant: int) -> int:
    return n_relevant + 1 if cutoff == "class_size" else int(cutoff)


def mean_scores(ranks: Ranks, ks: Sequence[int], n_same_image: int) -> RetrievalScores:
    """The scores of every query, and their means.

    Args:
        ranks: complete.
        ks: the k of Recall@k.
        n_same_image: queries for which rows of their own image were left out.
    """
    hit = ranks.first_hit >= 1
    reciprocal = torch.where(hit, 1 / ranks.first_hit.double(), 0.0)
    recall = {int(k): (hit & (ranks.first_hit <= k)).double() for k in ks}
    lines = (ranks.n_negatives > 0).nonzero().squeeze(1)
    if len(lines):
        run = ranks.first_hit[lines] - 1, ranks.n_positives[lines], ranks.n_negatives[lines]
        reciprocal[lines] = tied_ranks.reciprocal_rank(*run)
        for k, found in recall.items():
            found[lines] = tied_ranks.recall(*run, k)
    rows = RetrievalRows(
        ranks.first_hit, ranks.n_relevant, ranks.r_precision, ranks.average_precision_at_r,
        ranks.average_precision, recall, reciprocal, ranks.tied, ranks.average_precision_within,
        ranks.rankings.at, ranks.rankings.inverse_negative_penalty,
    )  # fmt: skip
    return RetrievalScores(
        recall={k: float(found.mean()) for k, found in recall.items()},
        map_at_r=float(rows.average_precision_at_r.nanmean()),
        r_precision=float(rows.r_precision.nanmean()),
        mean_average_precision=float(rows.average_precision.nanmean()),
        mean_reciprocal_rank=float(reciprocal.mean()),
        n_queries=len(rows.first_hit),
        n_without_positive=int((rows.n_relevant == 0).sum()),
        n_same_image=n_same_image,
        rows=rows,
    )
