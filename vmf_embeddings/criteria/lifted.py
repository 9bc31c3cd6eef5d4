"""Generalised lifted structure: all positives of an anchor against all its negatives, smoothly.

Hermans, Beyer, Leibe 2017, "In Defense of the Triplet Loss for Person Re-Identification", equation
7, https://arxiv.org/abs/1703.07737, after Oh Song et al. 2016, https://arxiv.org/abs/1511.06452.
"""

from typing import Any

from torch import Tensor

from vmf_embeddings.criteria.base import Criterion, at_least
from vmf_embeddings.criteria.comparisons import distances
from vmf_embeddings.criteria.npair import mean_length
from vmf_embeddings.criteria.sums import log_sum_exp, mean_of
from vmf_embeddings.geometry import Euclidean
from vmf_embeddings.miners.base import Triplets, others


def lifted(matrix: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Mean over anchors of [log sum exp d_ap + log sum exp(m - d_an)], where positive.

    Args:
        matrix: distances [B, B].
        labels: [B].
        margin: m.

    Returns:
        Scalar, over the anchors that have a positive.

    Example:
        >>> import torch
        >>> matrix = distances(torch.tensor([[0.0], [1.0], [0.5]]))
        >>> lifted(matrix, torch.tensor([0, 0, 1]), 1.0)
        tensor(1.5000)
    """
    same = labels[:, None] == labels
    positives = others(same)
    pull, push = log_sum_exp(matrix, positives), log_sum_exp(margin - matrix, ~same)
    return mean_of((pull + push).relu(), positives.any(1))


class Lifted(Criterion):
    """All pairs of the batch; embeddings may have any length, which is held back.

    Args:
        margin: m, > 0, distance that negatives should keep.
        l2_weight: >= 0, of the mean length of the embeddings.
    """

    geometry = Euclidean()

    def __init__(self, margin: float, l2_weight: float) -> None:
        super().__init__()
        at_least(0, margin=margin, l2_weight=l2_weight)
        self.margin, self.l2_weight = margin, l2_weight

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: Triplets | None = None,
        **context: Any,
    ) -> Tensor:
        """Embeddings [B, D] of any length, labels [B] -> scalar."""
        loss = lifted(distances(embeddings), labels, self.margin)
        return loss + self.l2_weight * mean_length(embeddings)
