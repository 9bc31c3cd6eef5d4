"""Retrieval scores marginalised over draws, for embeddings that are distributions (vMF).

Scott et al. 2021, https://arxiv.org/abs/2103.15718: S samples are drawn for every item; sample s of
a query is compared with sample s of every gallery row. Draws are passed one at a time, so only one
is in memory.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array
from vmf_embeddings.metrics.retrieval import retrieval


@dataclass(frozen=True)
class MarginalRows:
    """Scores of every query over S draws, in the order of the queries.

    Args:
        recall: k -> [Q] probability of a majority of draws, as in `MarginalScores.recall`.
        average_precision_at_r: [Q] mean over draws; NaN for queries without a positive.
        r_precision: [Q], likewise.
        average_precision: [Q], likewise.
        reciprocal_rank: [Q] mean over draws; 0 for queries without a positive.
    """

    recall: dict[int, Tensor]
    average_precision_at_r: Tensor
    r_precision: Tensor
    average_precision: Tensor
    reciprocal_rank: Tensor


@dataclass(frozen=True)
class MarginalScores:
    """Scores over S draws, as fractions.

    Args:
        recall: k -> fraction of queries that have a row of their class among the k nearest in more
            than half of the draws; exactly half counts as a miss. Where rows tie in a draw, the
            probability of that, over independent orders of tied rows in every draw.
        map_at_r: MAP@R, averaged over draws; NaN where no query has a positive.
        r_precision: R-precision, averaged over draws.
        mean_average_precision: over the whole gallery, averaged over draws.
        mean_reciprocal_rank: averaged over draws.
        rows: the scores of every query.
    """

    recall: dict[int, float]
    map_at_r: float
    r_precision: float
    mean_average_precision: float
    mean_reciprocal_rank: float
    rows: MarginalRows = field(repr=False)


def marginal_retrieval(
    draws: Iterable[Array],
    labels: Array,
    *,
    ks: Sequence[int] = (1,),
    progress: Callable[[float], None] | None = None,
    **options: Any,
) -> MarginalScores:
    """Score every draw; Recall@k by majority vote over draws, the other scores by their mean.

    Args:
        draws: S arrays [N, D].
        labels: [N], see `retrieval`.
        ks: the k of Recall@k.
        progress: called with the number of draws done, plus the fraction of the current one.
        options: arguments of `retrieval`, such as `similarity` or `metric`, and masks.

    Returns:
        The scores.

    Raises:
        ValueError: there is no draw.

    >>> good, bad = [[0.0], [0.1], [5.0], [5.1]], [[0.0], [5.0], [0.1], [5.1]]
    >>> labels = [0, 0, 1, 1]
    >>> marginal_retrieval([good, good, bad], labels, metric="l2").recall
    {1: 1.0}
    >>> marginal_retrieval([good, bad], labels, metric="l2").recall
    {1: 0.0}
    """
    report_progress = progress or (lambda done: None)
    hits: dict[int, list[Tensor]] = {int(k): [] for k in ks}
    means, rows = [], dict.fromkeys(_ROWS, torch.zeros(()))
    for number, draw in enumerate(draws):
        found = retrieval(
            draw,
            labels,
            ks=ks,
            progress=lambda part, n=number: report_progress(n + part),
            **options,
        )
        for k, of_draws in hits.items():
            of_draws.append(found.rows.recall[k])
        means.append([getattr(found, name) for name in _MEANS])
        rows = {name: total + getattr(found.rows, name) for name, total in rows.items()}
    if not means:
        raise ValueError("retrieval over draws needs at least one draw, got none")
    votes = {k: majority(torch.stack(found)) for k, found in hits.items()}
    recall = {k: float(found.mean()) for k, found in votes.items()}
    averages = [sum(values) / len(means) for values in zip(*means, strict=True)]
    of_rows = MarginalRows(votes, **{name: total / len(means) for name, total in rows.items()})
    return MarginalScores(recall, *averages, rows=of_rows)


_MEANS = ("map_at_r", "r_precision", "mean_average_precision", "mean_reciprocal_rank")
_ROWS = ("average_precision_at_r", "r_precision", "average_precision", "reciprocal_rank")


def majority(probabilities: Tensor) -> Tensor:
    """Probability that more than half of S independent votes are positive, [Q].

    Args:
        probabilities: [S, Q] of each vote, in [0, 1].

    >>> majority(torch.tensor([[1.0, 0.5], [1.0, 0.5], [0.0, 0.5]])).tolist()
    [1.0, 0.5]
    """
    n_votes, n_queries = probabilities.shape
    # distribution of the number of positive votes so far, [S + 1, Q]
    counts = probabilities.new_zeros(n_votes + 1, n_queries)
    counts[0] = 1
    for p in probabilities:
        counts[1:] = counts[1:] * (1 - p) + counts[:-1] * p
        counts[0] *= 1 - p
    return counts[n_votes // 2 + 1 :].sum(0)
