"""Retrieval scores marginalised over draws, for embeddings that are distributions (vMF).

Scott et al. 2021, https://arxiv.org/abs/2103.15718: S samples are drawn for every item; sample s of
a query is compared with sample s of every gallery row. Draws are passed one at a time, so only one
is in memory.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from vmf_embeddings.metrics.arrays import Array
from vmf_embeddings.metrics.retrieval import retrieval


@dataclass(frozen=True)
class MarginalScores:
    """Scores over S draws, as fractions.

    Args:
        recall: k -> fraction of queries that have a row of their class among the k nearest in more
            than half of the draws; exactly half counts as a miss.
        map_at_r: MAP@R, averaged over draws; NaN where no query has a positive.
        r_precision: R-precision, averaged over draws.
        mean_average_precision: over the whole gallery, averaged over draws.
        mean_reciprocal_rank: averaged over draws.
    """

    recall: dict[int, float]
    map_at_r: float
    r_precision: float
    mean_average_precision: float
    mean_reciprocal_rank: float


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
    votes = {int(k): torch.zeros((), dtype=torch.int64) for k in ks}
    means = []
    for number, draw in enumerate(draws):
        found = retrieval(
            draw,
            labels,
            ks=ks,
            progress=lambda part, n=number: report_progress(n + part),
            **options,
        )
        first = found.rows.first_hit
        for k in votes:
            votes[k] = votes[k] + ((first >= 1) & (first <= k))
        means.append([getattr(found, name) for name in _MEANS])
    if not means:
        raise ValueError("retrieval over draws needs at least one draw, got none")
    recall = {k: float((2 * vote > len(means)).double().mean()) for k, vote in votes.items()}
    averages = [sum(values) / len(means) for values in zip(*means, strict=True)]
    return MarginalScores(recall, *averages)


_MEANS = ("map_at_r", "r_precision", "mean_average_precision", "mean_reciprocal_rank")
