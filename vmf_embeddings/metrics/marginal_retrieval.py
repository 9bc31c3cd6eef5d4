"""Retrieval scores marginalised over draws, for embeddings that are distributions.

Scott et al. 2021, https://arxiv.org/abs/2103.15718: every item is drawn S times; draw s of a query
is compared with draw s of the gallery. Draws arrive one at a time, so memory is that of one draw.
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
        recall: k -> share of queries of which more than half of the draws have a row of their class
            among the k nearest; a tie is a miss.
        map_at_r: MAP@R of a draw, averaged over draws; NaN where no query has a positive.
        r_precision: R-precision, likewise.
        mean_average_precision: mean average precision over the whole gallery, likewise.
        mean_reciprocal_rank: likewise.
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
    """Score every draw once: Recall@k by a vote of the draws, the other scores by their mean.

    Args:
        draws: S arrays [N, D].
        labels: [N], see `retrieval`.
        ks: the k of Recall@k.
        progress: told how many draws are done, with the share of the current one.
        options: `similarity` or `metric`, masks and more, see `retrieval`.

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
    tell = progress or (lambda done: None)
    votes = {int(k): torch.zeros((), dtype=torch.int64) for k in ks}
    means = []
    for number, draw in enumerate(draws):
        found = retrieval(
            draw, labels, ks=ks, progress=lambda part, n=number: tell(n + part), **options
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
