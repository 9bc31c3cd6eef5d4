"""Multi-similarity as in the code of NIR: with an additional softplus around the means.

Roth, Vinyals, Akata 2022, https://arxiv.org/abs/2203.08547; for comparison with published numbers.
The loss of the paper is criterion=multisimilarity.
"""

from typing import Any

from torch import Tensor, nn

from vmf_embeddings.criteria.base import Criterion, at_least
from vmf_embeddings.criteria.multisimilarity import informative_pairs
from vmf_embeddings.criteria.sums import log1p_sum_exp
from vmf_embeddings.miners.base import Triplets


def multisimilarity_nir(
    cosine: Tensor,
    masks: tuple[Tensor, Tensor],
    weights: tuple[float, float],
    thresholds: tuple[float, float],
) -> Tensor:
    """Softplus(mean log(1 + sum exp(-+w (s - t)))) / w, of positives plus that of negatives.

    Args:
        cosine: of anchors and rows [A, B].
        masks: positives and negatives [A, B].
        weights: > 0, of positives and negatives.
        thresholds: offsets subtracted from the cosines of positives and negatives.

    Returns:
        Scalar, at least log(2) (1 / weights[0] + 1 / weights[1]).

    Example:
        >>> import torch
        >>> none = torch.zeros(2, 2, dtype=torch.bool)
        >>> multisimilarity_nir(torch.eye(2), (none, none), (2.0, 40.0), (0.5, 0.5))
        tensor(0.3639)
    """
    signs = (-1, 1)
    means = [
        weight * log1p_sum_exp(cosine, mask, scale=sign * weight, offset=threshold).mean()
        for sign, weight, threshold, mask in zip(signs, weights, thresholds, masks, strict=True)
    ]
    return sum(nn.functional.softplus(m) / w for m, w in zip(means, weights, strict=True))


class MultiSimilarityNIR(Criterion):
    """Over all pairs; `conf/criterion/multisimilarity_nir.yaml` documents the parameters."""

    takes_memory = True

    def __init__(
        self,
        pos_weight: float,
        neg_weight: float,
        pos_thresh: float,
        neg_thresh: float,
        margin: float | None,
    ) -> None:
        super().__init__()
        at_least(0, above=True, pos_weight=pos_weight, neg_weight=neg_weight)
        self.weights, self.thresholds = (pos_weight, neg_weight), (pos_thresh, neg_thresh)
        self.margin = margin

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
        masks = informative_pairs(cosine.detach(), labels, self.margin)
        return multisimilarity_nir(cosine, masks, self.weights, self.thresholds)
