"""N-pair loss: softmax of one positive against all negatives, by inner products.

Sohn 2016, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", equation 3,
https://papers.nips.cc/paper/2016/hash/6b180037abbebea991d8b1232f8a8ca9-Abstract.html.
"""

from typing import Any

from torch import Tensor

from vmf_embeddings.criteria.base import Criterion, at_least
from vmf_embeddings.criteria.comparisons import partners
from vmf_embeddings.criteria.sums import log1p_sum_exp, mean_of
from vmf_embeddings.geometry import Euclidean
from vmf_embeddings.miners.base import Triplets


def npair(embeddings: Tensor, labels: Tensor, positive: Tensor, counts: Tensor) -> Tensor:
    """Mean over anchors of log(1 + sum over rows n of other classes of exp(a.n - a.p)).

    Args:
        embeddings: [B, D], of any length.
        labels: [B].
        positive: row [B] of the own class.
        counts: bool [B], which rows are anchors.

    Returns:
        Scalar; 0 without anchors.

    Example:
        >>> import torch
        >>> x, y = torch.tensor([[1.0], [2.0], [0.0]]), torch.tensor([0, 0, 1])
        >>> npair(x, y, torch.tensor([1, 0, 0]), torch.tensor([True, False, False]))
        tensor(0.1269)
    """
    products = embeddings @ embeddings.T
    own = products.gather(1, positive[:, None])
    return mean_of(log1p_sum_exp(products - own, labels[:, None] != labels), counts)


def mean_length(embeddings: Tensor) -> Tensor:
    """Mean length of the rows [B, D], scalar."""
    return embeddings.norm(dim=-1).mean()


class NPair(Criterion):
    """One positive for each row, a miner's or drawn; lengths of embeddings are held back.

    Args:
        l2_weight: >= 0, of the mean length of the embeddings.
        divisor: > 0, of the embeddings, before anything else.
    """

    allowed_miners = ("npair",)
    geometry = Euclidean()

    def __init__(self, l2_weight: float, divisor: float) -> None:
        super().__init__()
        at_least(0, l2_weight=l2_weight)
        at_least(0, above=True, divisor=divisor)
        self.l2_weight, self.divisor = l2_weight, divisor

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: Triplets | None = None,
        **context: Any,
    ) -> Tensor:
        """Embeddings [B, D] of any length, labels [B] -> scalar."""
        embeddings = embeddings / self.divisor
        loss = npair(embeddings, labels, *partners(labels, triplets))
        return loss + self.l2_weight * mean_length(embeddings)
