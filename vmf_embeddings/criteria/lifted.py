"""Generalised lifted structure loss: soft maxima over all positives and all negatives of an anchor.

Hermans, Beyer, Leibe 2017, "In Defense of the Triplet Loss for Person Re-Identification", equation
7, https://arxiv.org/abs/1703.07737, after Oh Song et al. 2016, https://arxiv.org/abs/1511.06452.
"""

from typing import Any

from torch import Tensor

from vmf_embeddings.criteria.base import Criterion, at_least
from vmf_embeddings.criteria.comparisons import distances
from vmf_embeddings.criteria.npair import mean_norm
from vmf_embeddings.criteria.sums import log_sum_exp, mean_of
from vmf_embeddings.geometry import Euclidean
from vmf_embeddings.miners.base import Triplets, others


def lifted(matrix: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Mean over anchors of relu(log sum_p exp(d_ap) + log sum_n exp(m - d_an)).

    Args:
        matrix: distances of all pairs [B, B], or of the first A rows from all [A, B].
        labels: [B].
        margin: m.

    Returns:
        Scalar; the mean is over anchors that have a positive, 0 without any.

    Example:
        >>> import torch
        >>> matrix = distances(torch.tensor([[0.0], [1.0], [0.5]]))
        >>> lifted(matrix, torch.tensor([0, 0, 1]), 1.0)
        tensor(1.5000)
    """
    same = labels[: len(matrix), None] == labels
    positives = others(same)
    pull, push = log_sum_exp(matrix, positives), log_sum_exp(margin - matrix, ~same)
    return mean_of((pull + push).relu(), positives.any(1))


class Lifted(Criterion):
    """Lifted structure loss over all pairs of the batch, with a penalty on the embeddings' norm.

    Args:
        margin: m, >= 0, distance that negatives should have.
        l2_weight: weight of the mean norm of the embeddings, >= 0.
    """

    geometry = Euclidean()
    takes_memory = True

    def __init__(self, margin: float, l2_weight: float) -> None:
        super().__init__()
        at_least(0, margin=margin, l2_weight=l2_weight)
        self.margin, self.l2_weight = margin, l2_weight

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: Triplets | None = None,
        *,
        n_anchors: int | None = None,
        **context: Any,
    ) -> Tensor:
        """Embeddings [B, D] of any norm, labels [B] -> scalar."""
        loss = lifted(distances(embeddings, n_anchors), labels, self.margin)
        return loss + self.l2_weight * mean_norm(embeddings[:n_anchors])
