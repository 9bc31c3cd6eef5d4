"""Multi-similarity loss: pairs are mined and weighted relative to the other pairs of an anchor.

Wang, Han, Huang, Dong, Scott 2019, "Multi-Similarity Loss with General Pair Weighting", equations
6, 7 and 12, https://arxiv.org/abs/1904.06627.
"""

from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.criteria.base import VARIANTS, Criterion, at_least, one_of
from vmf_embeddings.criteria.sums import log1p_sum_exp, mean_of
from vmf_embeddings.miners.base import Triplets, others


def informative_pairs(
    cosine: Tensor, labels: Tensor, epsilon: float | None
) -> tuple[Tensor, Tensor]:
    """Positives less similar than the hardest negative, negatives more than the hardest positive.

    Args:
        cosine: of all pairs [B, B], or of the first A rows with all [A, B].
        labels: [B].
        epsilon: tolerance of both comparisons, a difference of cosines; None = all pairs.

    Returns:
        Masks of positives and negatives [A, B], anchors in rows.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
        >>> masks = informative_pairs(x @ x.T, torch.tensor([0, 0, 1]), 0.1)
        >>> masks[1].int()
        tensor([[0, 0, 0],
                [0, 0, 1],
                [0, 0, 0]], dtype=torch.int32)
    """
    same = labels[: len(cosine), None] == labels
    positives = others(same)
    if epsilon is None:
        return positives, ~same
    hardest_positive = cosine.masked_fill(~positives, torch.inf).amin(1, keepdim=True)
    hardest_negative = cosine.masked_fill(same, -torch.inf).amax(1, keepdim=True)
    return (
        positives & (cosine - epsilon < hardest_negative),
        ~same & (cosine + epsilon > hardest_positive),
    )


def multisimilarity(
    cosine: Tensor, masks: tuple[Tensor, Tensor], alpha: float, beta: float, base: float
) -> Tensor:
    """log(1 + sum exp(-alpha (s - base))) / alpha + log(1 + sum exp(beta (s - base))) / beta.

    The first sum is over the positives of an anchor, the second over its negatives.

    Args:
        cosine: of anchors and rows [A, B].
        masks: positives and negatives [A, B], anchors in rows.
        alpha: scale of the positives, > 0.
        beta: scale of the negatives, > 0.
        base: offset subtracted from the cosines.

    Returns:
        Loss of each anchor [A].

    Example:
        >>> x, y = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]]), torch.tensor([0, 0, 1])
        >>> multisimilarity(x @ x.T, informative_pairs(x @ x.T, y, None), 2.0, 40.0, 0.5)
        tensor([0.3192, 0.6787, 0.4600])
    """
    pull = log1p_sum_exp(cosine, masks[0], scale=-alpha, offset=base)
    return pull + log1p_sum_exp(cosine, masks[1], scale=beta, offset=base)


class MultiSimilarity(Criterion):
    """Over all pairs of the batch; `conf/criterion/multisimilarity.yaml` documents parameters."""

    takes_memory = True

    def __init__(
        self, alpha: float, beta: float, base: float, epsilon: float | None, variant: str
    ) -> None:
        super().__init__()
        at_least(0, above=True, alpha=alpha, beta=beta)
        one_of("variant", variant, VARIANTS)
        self.scales, self.epsilon, self.variant = (alpha, beta, base), epsilon, variant

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
        masks = informative_pairs(cosine.detach(), labels, self.epsilon)
        losses = multisimilarity(cosine, masks, *self.scales)
        if self.variant == "standard":
            return losses.mean()
        return mean_of(losses, masks[0].any(1) & masks[1].any(1))
