"""Contrastive loss: positive pairs closer than one margin, negative pairs further than another.

Hadsell, Chopra, LeCun 2006, "Dimensionality Reduction by Learning an Invariant Mapping",
http://yann.lecun.com/exdb/publis/pdf/hadsell-chopra-lecun-06.pdf, here with distances
instead of squared distances.
"""

from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.criteria.base import VARIANTS, Criterion, at_least, one_of
from vmf_embeddings.criteria.comparisons import distances, entries, positive_and_negative_pairs
from vmf_embeddings.criteria.sums import mean_of
from vmf_embeddings.miners.base import MaskedTriplets, Triplets

REFERENCE_EPSILON = 1e-6  # torch's PairwiseDistance adds it to every coordinate


def contrastive(
    positive: Tensor,
    negative: Tensor,
    margins: tuple[float, float],
    valid: tuple[Tensor | None, Tensor | None] = (None, None),
) -> Tensor:
    """Mean relu(d - m+) over positive pairs plus mean relu(m- - d) over negative pairs.

    Args:
        positive: distances [P].
        negative: distances [N].
        margins: m+ and m-.
        valid: which positive and which negative pairs count, bool; None = all. Distances broadcast
            to their shapes.

    Returns:
        Scalar; the mean of no pairs is 0.

    Example:
        >>> contrastive(torch.tensor([0.5, 0.7]), torch.tensor([0.8, 1.6]), (0.0, 1.0))
        tensor(0.7000)
    """
    pull, push = (positive - margins[0]).relu(), (margins[1] - negative).relu()
    return mean_of(pull, valid[0]) + mean_of(push, valid[1])


class Contrastive(Criterion):
    """Contrastive loss over the pairs of a miner's triplets, or over all pairs of the batch.

    Args:
        pos_margin: m+, distance below which a positive pair has no loss, >= 0.
        neg_margin: m-, distance above which a negative pair has no loss, >= 0.
        variant: "standard", or "reference", which adds 1e-6 to every difference of coordinates.
    """

    takes = "triplets"
    allowed_miners = None
    takes_masks = True
    takes_memory = True

    def __init__(self, pos_margin: float, neg_margin: float, variant: str) -> None:
        super().__init__()
        at_least(0, pos_margin=pos_margin, neg_margin=neg_margin)
        one_of("variant", variant, VARIANTS)
        self.margins, self.variant = (pos_margin, neg_margin), variant

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: Triplets | MaskedTriplets | None = None,
        *,
        n_anchors: int | None = None,
        **context: Any,
    ) -> Tensor:
        """Unit embeddings [B, D], labels [B] -> scalar."""
        pairs = positive_and_negative_pairs(labels, triplets, n_anchors)
        if self.variant == "reference":
            found = [_shifted_distance(embeddings[p.anchor], embeddings[p.other]) for p in pairs]
        else:
            matrix = distances(embeddings, n_anchors)
            found = [entries(matrix, p.anchor, p.other) for p in pairs]
        return contrastive(*found, self.margins, (pairs[0].valid, pairs[1].valid))


def _shifted_distance(one: Tensor, other: Tensor) -> Tensor:
    return torch.linalg.vector_norm(one - other + REFERENCE_EPSILON, dim=-1)
