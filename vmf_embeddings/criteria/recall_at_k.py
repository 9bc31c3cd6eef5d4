"""Recall@k surrogate: one minus the mean recall at several k, with sigmoids as comparisons.

Patel, Tolias, Matas 2022, "Recall@k Surrogate Loss with Large Batches and Similarity Mixup",
equations 5 to 7, https://arxiv.org/abs/2108.11179.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.criteria.base import Criterion, at_least
from vmf_embeddings.criteria.soft_ranks import (
    Rankings,
    mean_over_queries,
    rankings,
    sigmoid_step,
    soft_ranks,
)
from vmf_embeddings.miners.base import Triplets


def recall_losses(
    lists: Rankings, temperature: float, k_values: Sequence[int], k_temperatures: Sequence[float]
) -> Tensor:
    """1 - mean over k of min(k, sum over positives of sigmoid((k - R(i)) / t_k)) / min(k, |P|).

    Args:
        lists: of R queries.
        temperature: of the ranks' sigmoids, > 0.
        k_values: k >= 1, of which there is at least one.
        k_temperatures: t_k > 0, one for each k.

    Returns:
        [R], <= 1. A perfect ranking is not at 0, as sigmoid(0) is 1/2: one positive gives 1/2.

    Example:
        >>> lists = rankings(torch.eye(3), torch.tensor([0, 0, 1]))
        >>> recall_losses(lists, 0.01, [1], [1.0])[:2]  # a tie: rank 1.5
        tensor([0.6225, 0.6225])
    """
    step = sigmoid_step(temperature)
    ranks = soft_ranks(lists, step, step)[1]
    n_positive = lists.valid.sum(1)
    losses = []
    for k, k_temperature in zip(k_values, k_temperatures, strict=True):
        inside = torch.sigmoid((k - ranks) / k_temperature).masked_fill(~lists.valid, 0).sum(1)
        losses.append(1 - inside.clamp_max(k) / n_positive.clamp(1, k))
    return torch.stack(losses).mean(0)


class RecallAtK(Criterion):
    """Recall@k surrogate over all rows of the batch.

    Args:
        k_values: k >= 1, at least one; a k above the number of rows counts as that.
        temperature: of the sigmoids between similarities, > 0.
        k_temperature: t_k of the sigmoids between k and a rank, > 0; one number for all k, or one
            for each.
        count_query: whether a query is in its own list, which moves every rank by one.
    """

    takes_memory = True

    def __init__(
        self,
        k_values: Sequence[int],
        temperature: float,
        k_temperature: float | Sequence[float],
        count_query: bool,
    ) -> None:
        super().__init__()
        at_least(0, above=True, temperature=temperature)
        self.k_values = [int(k) for k in k_values]
        if not self.k_values or min(self.k_values) < 1:
            raise ValueError(
                "criterion.params.k_values: expected whole numbers >= 1, as [1,2,4], got "
                f"{self.k_values}."
            )
        same_for_all = isinstance(k_temperature, int | float)
        given = [k_temperature] * len(self.k_values) if same_for_all else list(k_temperature)
        if len(given) != len(self.k_values) or not all(t > 0 for t in given):
            raise ValueError(
                f"criterion.params.k_temperature: expected a number > 0, or {len(self.k_values)} "
                f"of them, one for each of k_values, got {k_temperature}."
            )
        self.k_temperatures = [float(t) for t in given]
        self.temperature, self.count_query = temperature, count_query

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: Triplets | None = None,
        *,
        n_anchors: int | None = None,
        **context: Any,
    ) -> Tensor:
        """Unit embeddings [B, D], labels [B] -> scalar."""
        cosine = embeddings[:n_anchors] @ embeddings.T
        lists = rankings(cosine, labels, query_is_compared=self.count_query)
        loss_of = partial(
            recall_losses,
            temperature=self.temperature,
            k_values=[min(k, len(labels)) for k in self.k_values],
            k_temperatures=self.k_temperatures,
        )
        return mean_over_queries(loss_of, lists)
