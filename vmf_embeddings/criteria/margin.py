"""Margin loss: positives within a learned distance beta, negatives beyond it.

Wu, Manmatha, Smola, Krahenbuhl 2017, "Sampling Matters in Deep Embedding Learning", equations 7
and 8, https://arxiv.org/abs/1706.07567.
"""

from typing import Any

import torch
from torch import Tensor, nn

from vmf_embeddings.criteria.base import VARIANTS, Criterion, at_least, one_of, param_group
from vmf_embeddings.criteria.comparisons import (
    distances,
    entries,
    positive_and_negative_pairs,
    triplets_of_batch,
)
from vmf_embeddings.criteria.sums import masked
from vmf_embeddings.miners.base import MaskedTriplets, Triplets

REFERENCE_EPSILON = 1e-8  # published code adds it to squared distances


def margin_terms(
    positive: Tensor, negative: Tensor, betas: tuple[Tensor, Tensor], margin: float
) -> tuple[Tensor, Tensor]:
    """relu(d - beta + m) of positive pairs and relu(beta - d + m) of negative pairs.

    Args:
        positive: distances [P].
        negative: distances [N].
        betas: beta of the anchor's class, [P] and [N].
        margin: m.

    Returns:
        [P] and [N], >= 0.

    Example:
        >>> terms = margin_terms(*torch.tensor([[1.5], [1.3]]), 2 * (torch.tensor([1.2]),), 0.2)
        >>> [round(float(t), 6) for t in terms]
        [0.5, 0.1]
    """
    return (positive - betas[0] + margin).relu(), (betas[1] - negative + margin).relu()


class Margin(Criterion):
    """Margin loss with a beta per class; `conf/criterion/margin.yaml` documents the parameters."""

    takes = "triplets"
    allowed_miners = None
    takes_masks = True
    takes_memory = True

    def __init__(
        self,
        margin: float,
        beta: float,
        learn_beta: bool,
        beta_lr: float | None,
        nu: float,
        variant: str,
    ) -> None:
        super().__init__()
        at_least(0, beta_lr=beta_lr, nu=nu)
        at_least(0, above=True, beta=beta)
        one_of("variant", variant, VARIANTS)
        self.margin, self.first_beta, self.learn_beta = margin, beta, learn_beta
        self.beta_lr, self.nu, self.variant = beta_lr, nu, variant
        self.beta: Tensor

    @property
    def takes_all_triplets(self) -> bool:
        """Whether the variant counts triplets; the standard one takes pairs."""
        return self.variant == "reference"

    def build(self, n_classes: int, dim: int, n_features: int | None = None) -> None:
        """Creates the beta of every class [C], trainable or constant."""
        beta = torch.full((n_classes,), float(self.first_beta))
        if self.learn_beta:
            self.beta = nn.Parameter(beta)
        else:
            self.register_buffer("beta", beta)

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: Triplets | MaskedTriplets | None = None,
        *,
        n_anchors: int | None = None,
        **context: Any,
    ) -> Tensor:
        """Unit embeddings [B, D], labels [B] -> scalar: sum of terms / number of terms above 0."""
        matrix, per_triplet = distances(embeddings, n_anchors), self.takes_all_triplets
        if per_triplet:
            triplets = triplets or triplets_of_batch(labels, n_anchors)
            matrix = (matrix.square() + REFERENCE_EPSILON).sqrt()
        pairs = positive_and_negative_pairs(labels, triplets, n_anchors)
        betas = tuple(self.beta[labels[p.anchor]] for p in pairs)
        of_pairs = (entries(matrix, p.anchor, p.other) for p in pairs)
        terms = margin_terms(*of_pairs, betas, self.margin)
        terms = [masked(term, p.valid) for term, p in zip(terms, pairs, strict=True)]
        active = [term > 0 for term in terms]
        count = (active[0] | active[1]).sum() if per_triplet else sum(a.sum() for a in active)
        total = sum(t.sum() for t in terms) + self.nu * masked(betas[0], pairs[0].valid).sum()
        return total / count.clamp_min(1)

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """One group: the beta of every class, with their own learning rate `beta_lr`."""
        return param_group(self.beta, lr=self.beta_lr) if self.learn_beta else []
