"""Angular loss: bounds the angle at the negative of each triplet; added to the n-pair loss.

Wang, Zhou, Wen, Liu, Lin 2017, "Deep Metric Learning with Angular Loss", equations 7 and 8,
https://arxiv.org/abs/1708.01682.
"""

import math
from typing import Any

from torch import Tensor

from vmf_embeddings.criteria.base import Criterion, at_least
from vmf_embeddings.criteria.comparisons import positive_rows
from vmf_embeddings.criteria.npair import mean_norm, npair
from vmf_embeddings.criteria.sums import log1p_sum_exp, mean_of
from vmf_embeddings.geometry import Euclidean, unit_vectors
from vmf_embeddings.miners.base import MaskedTriplets, Triplets


def angular(
    embeddings: Tensor, labels: Tensor, positive: Tensor, is_anchor: Tensor, alpha: float
) -> Tensor:
    """Mean of log(1 + sum exp(4 tan^2(alpha) (a + p).n - 2 (1 + tan^2(alpha)) a.p)).

    Args:
        embeddings: [B, D], of norm 1.
        labels: [B].
        positive: index of the positive of each of the first A rows [A]; A = B for all.
        is_anchor: bool [A], rows that have a positive.
        alpha: upper bound of the angle at the negative, in degrees.

    Returns:
        Scalar; 0 without anchors.

    Example:
        >>> import torch
        >>> x, y = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0, 1])
        >>> angular(x, y, torch.tensor([1, 0, 0]), y == 0, 45.0)  # log(1 + exp(-4))
        tensor(0.0181)
    """
    squared_tangent = math.tan(math.radians(alpha)) ** 2
    anchors, positives = embeddings[: len(positive)], embeddings[positive]
    products = (anchors * positives).sum(-1, keepdim=True)  # a.p
    exponent = 4 * squared_tangent * (anchors + positives) @ embeddings.T
    exponent = exponent - 2 * (1 + squared_tangent) * products
    negatives = labels[: len(positive), None] != labels
    return mean_of(log1p_sum_exp(exponent, negatives), is_anchor)


class Angular(Criterion):
    """N-pair loss of the embeddings plus angular loss of their directions, on the same pairs.

    Args:
        alpha: upper bound of the angle at the negative, in degrees, in (0, 90).
        angular_weight: weight of the angular loss, >= 0.
        l2_weight: weight of the mean norm of the embeddings, >= 0.
    """

    allowed_miners = ("npair",)
    takes_masks = True
    geometry = Euclidean()
    takes_memory = True

    def __init__(self, alpha: float, angular_weight: float, l2_weight: float) -> None:
        super().__init__()
        if not 0 < alpha < 90:
            raise ValueError(f"criterion.params.alpha is in (0, 90) degrees, got {alpha}.")
        at_least(0, angular_weight=angular_weight, l2_weight=l2_weight)
        self.alpha, self.angular_weight, self.l2_weight = alpha, angular_weight, l2_weight

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: Triplets | MaskedTriplets | None = None,
        *,
        n_anchors: int | None = None,
        **context: Any,
    ) -> Tensor:
        """Embeddings [B, D] of any norm, labels [B] -> scalar."""
        pairs = positive_rows(labels, triplets, n_anchors)
        unit = unit_vectors(embeddings)
        loss = npair(embeddings, labels, *pairs)
        loss = loss + self.angular_weight * angular(unit, labels, *pairs, self.alpha)
        return loss + self.l2_weight * mean_norm(embeddings[:n_anchors])
