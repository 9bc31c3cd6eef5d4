"""N-pair loss: softmax of one positive against all negatives, by inner products.

Sohn 2016, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", equation 3,
https://papers.nips.cc/paper/2016/hash/6b180037abbebea991d8b1232f8a8ca9-Abstract.html.
"""

from typing import Any

from torch import Tensor

from vmf_embeddings.criteria.base import Criterion, at_least
from vmf_embeddings.criteria.comparisons import positive_rows
from vmf_embeddings.criteria.sums import log1p_sum_exp, mean_of
from vmf_embeddings.geometry import Euclidean
from vmf_embeddings.miners.base import MaskedTriplets, Triplets


def npair(embeddings: Tensor, labels: Tensor, positive: Tensor, is_anchor: Tensor) -> Tensor:
    """Mean over anchors of log(1 + sum over rows n of other classes of exp(a.n - a.p)).

    Args:
        embeddings: [B, D], of any norm.
        labels: [B].
        positive: index of the positive of each of the first A rows [A]; A = B for all.
        is_anchor: bool [A], rows that have a positive.

    Returns:
        Scalar; 0 without anchors.

    Example:
        >>> import torch
        >>> x, y = torch.tensor([[1.0], [2.0], [0.0]]), torch.tensor([0, 0, 1])
        >>> npair(x, y, torch.tensor([1, 0, 0]), torch.tensor([True, False, False]))
        tensor(0.1269)
    """
    products = embeddings[: len(positive)] @ embeddings.T
    positive_product = products.gather(1, positive[:, None])
    exponent = products - positive_product  # a.n - a.p
    negatives = labels[: len(positive), None] != labels
    return mean_of(log1p_sum_exp(exponent, negatives), is_anchor)


def mean_norm(embeddings: Tensor) -> Tensor:
    """Mean norm of the rows [B, D], scalar."""
    return embeddings.norm(dim=-1).mean()


class NPair(Criterion):
    """N-pair loss with one positive per row, from a miner or at random, and a penalty on the norm.

    Args:
        l2_weight: weight of the mean norm of the embeddings, >= 0.
        divisor: embeddings are divided by it first, > 0.
    """

    allowed_miners = ("npair",)
    takes_masks = True
    geometry = Euclidean()
    takes_memory = True

    def __init__(self, l2_weight: float, divisor: float) -> None:
        super().__init__()
        at_least(0, l2_weight=l2_weight)
        at_least(0, above=True, divisor=divisor)
        self.l2_weight, self.divisor = l2_weight, divisor

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
        embeddings = embeddings / self.divisor
        loss = npair(embeddings, labels, *positive_rows(labels, triplets, n_anchors))
        return loss + self.l2_weight * mean_norm(embeddings[:n_anchors])
