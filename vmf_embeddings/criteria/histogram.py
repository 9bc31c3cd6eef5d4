"""Histogram loss: the probability that a negative pair is more similar than a positive pair.

Ustinova, Lempitsky 2016, "Learning Deep Embeddings with Histogram Loss", equations 1 to 5,
https://arxiv.org/abs/1611.00822.
"""

from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.criteria.base import Criterion
from vmf_embeddings.miners.base import Triplets


def soft_histogram(values: Tensor, weights: Tensor, n_nodes: int) -> Tensor:
    """Weighted histogram with linear interpolation between nodes, so that it is differentiable.

    Args:
        values: [P] in [-1, 1].
        weights: of the values, 0 or 1, [P].
        n_nodes: R >= 2, equally spaced from -1 to 1.

    Returns:
        [R], sums to 1; all 0 if all weights are 0.

    Example:
        >>> soft_histogram(torch.tensor([0.5, -1.0]), torch.ones(2), 3)
        tensor([0.5000, 0.2500, 0.2500])
    """
    position = (values.clamp(-1, 1) + 1) * (n_nodes - 1) / 2  # in units of the node spacing
    left = position.detach().floor().clamp_max(n_nodes - 2).long()
    fraction = position - left
    empty = values.new_zeros(n_nodes)
    total = empty.index_add(0, left, (1 - fraction) * weights)
    total = total.index_add(0, left + 1, fraction * weights)
    return total / weights.sum().clamp_min(1)


def histogram(cosine: Tensor, labels: Tensor, n_nodes: int) -> Tensor:
    """sum_r h-(r) sum_{q <= r} h+(q), with the histograms h+ and h- of positive and negative pairs.

    Args:
        cosine: of all pairs of the batch [B, B], or of the first A rows with all [A, B].
        labels: [B].
        n_nodes: R, nodes of the histograms on [-1, 1].

    Returns:
        Scalar in [0, 1].

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
        >>> histogram(x @ x.T, torch.tensor([0, 0, 1]), 101)
        tensor(1.)
    """
    row, column = torch.triu_indices(*cosine.shape, offset=1, device=cosine.device)
    values, same = cosine[row, column], (labels[row] == labels[column]).to(cosine)
    positive = soft_histogram(values, same, n_nodes)
    negative = soft_histogram(values, 1 - same, n_nodes)
    return (negative * positive.cumsum(0)).sum()


class Histogram(Criterion):
    """Histogram loss over all pairs of the batch.

    Args:
        n_nodes: R, nodes of the histograms, >= 2.
    """

    takes_memory = True

    def __init__(self, n_nodes: int) -> None:
        super().__init__()
        if n_nodes < 2:
            raise ValueError(f"criterion.params.n_nodes must be >= 2, got {n_nodes}.")
        self.n_nodes = n_nodes

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
        return histogram(embeddings[:n_anchors] @ embeddings.T, labels, self.n_nodes)
