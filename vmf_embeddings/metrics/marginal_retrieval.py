"""Retrieval scores marginalised over draws, for embeddings that are distributions.

Scott et al. 2021, https://arxiv.org/abs/2103.15718: every item is drawn S times; draw s of a query
is compared with draw s of the gallery. Draws arrive one at a time, so memory is that of one draw.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from vmf_embeddings.metrics.arrays import Array
from vmf_embeddings.metrics.retrieval import retrieval


def majority_recall(
    draws: Iterable[Array], labels: Array, *, ks: Sequence[int] = (1,), **options: Any
) -> dict[int, float]:
    """Recall@k where a query counts as a hit if more than half of its draws hit; a tie is a miss.

    Args:
        draws: S arrays [N, D].
        labels: [N], see `retrieval`.
        ks: the k of Recall@k.
        options: `similarity` or `metric`, masks and backend, see `retrieval`.

    Returns:
        k -> share of queries, in [0, 1].

    >>> good, bad = [[0.0], [0.1], [5.0], [5.1]], [[0.0], [5.0], [0.1], [5.1]]
    >>> labels = [0, 0, 1, 1]
    >>> majority_recall([good, good, bad], labels, metric="l2"), majority_recall(
    ...     [good, bad], labels, metric="l2")
    ({1: 1.0}, {1: 0.0})
    """
    votes: dict[int, torch.Tensor] = {}
    n_draws = 0
    for draw in draws:
        first = retrieval(draw, labels, ks=ks, only_recall=True, **options).rows.first_hit
        for k in ks:
            hit = ((first >= 1) & (first <= k)).long()
            votes[k] = votes[k] + hit if k in votes else hit
        n_draws += 1
    if n_draws == 0:
        raise ValueError("majority_recall needs at least one draw, got none")
    return {int(k): float((2 * votes[k] > n_draws).double().mean()) for k in ks}


def mean_map_at_r(draws: Iterable[Array], labels: Array, **options: Any) -> float:
    """MAP@R of each draw, averaged over draws.

    Args:
        draws: S arrays [N, D].
        labels: [N], see `retrieval`.
        options: `similarity` or `metric`, masks and backend, see `retrieval`.

    Returns:
        In [0, 1]; NaN where no query has a positive.

    >>> mean_map_at_r([[[0.0], [0.1], [5.0]], [[0.0], [5.0], [4.9]]], [0, 0, 1], metric="l2")
    0.5
    """
    values = [retrieval(draw, labels, **options).map_at_r for draw in draws]
    if not values:
        raise ValueError("mean_map_at_r needs at least one draw, got none")
    return sum(values) / len(values)
