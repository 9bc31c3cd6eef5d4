"""Smooth-AP: one minus the average precision of a batch, with sigmoids as comparisons.

Brown, Xie, Kalogeiton, Zisserman 2020, "Smooth-AP: Smoothing the Path Towards Large-Scale Image
Retrieval", equation 6, https://arxiv.org/abs/2007.12163.
"""

from functools import partial
from typing import Any

from torch import Tensor

from vmf_embeddings.criteria.base import Criterion, at_least
from vmf_embeddings.criteria.soft_ranks import (
    average_precision_loss,
    mean_over_queries,
    rankings,
    sigmoid_step,
)
from vmf_embeddings.miners.base import Triplets


def smooth_ap(
    cosine: Tensor, labels: Tensor, temperature: float, count_query: bool = False
) -> Tensor:
    """Mean over queries of 1 - AP, AP = mean over positives of R_P(i) / R(i) with smooth ranks.

    Args:
        cosine: of all pairs of the batch [B, B], or of the first R rows, the queries, [R, B].
        labels: [B].
        temperature: of the sigmoids, > 0. Towards 0 the loss becomes one minus the mean average
            precision, and its gradient 0.
        count_query: whether a query counts as a positive of its own, as in the published code.

    Returns:
        Scalar in [0, 1); queries without a positive are left out.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]])
        >>> smooth_ap(x @ x.T, torch.tensor([0, 0, 1]), 0.01)
        tensor(0.5000)
    """
    step = sigmoid_step(temperature)
    lists = rankings(cosine, labels, query_is_positive=count_query)
    loss_of = partial(average_precision_loss, among_positives=step, among_others=step)
    return mean_over_queries(loss_of, lists)


class SmoothAP(Criterion):
    """Smooth-AP over all rows of the batch.

    Args:
        temperature: of the sigmoids, > 0.
        count_query: whether a query is one of its own positives.
    """

    takes_memory = True

    def __init__(self, temperature: float, count_query: bool) -> None:
        super().__init__()
        at_least(0, above=True, temperature=temperature)
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
        return smooth_ap(cosine, labels, self.temperature, self.count_query)
