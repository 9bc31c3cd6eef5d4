"""Positives further than some negative, and negatives closer than some positive.

Roth & Brattoli 2019, https://github.com/Confusezius/Deep-Metric-Learning-Baselines, with a
random choice instead of the extremes of Hermans et al. 2017, https://arxiv.org/abs/1703.07737.
"""

import torch
from torch import Tensor

from vmf_embeddings.miners.base import MaskedTriplets, Miner, others
from vmf_embeddings.miners.draws import choose
from vmf_embeddings.miners.semihard import prefer


class SofthardMiner(Miner):
    """One triplet per anchor, at random among the hard positives and the hard negatives.

    Positives further than the nearest negative, negatives closer than the furthest positive; if
    there are none, a random positive or negative. Anchors without either are in no triplet.
    """

    def mine(
        self, embeddings: Tensor, same: Tensor, generator: torch.Generator | None
    ) -> MaskedTriplets:
        """See `Miner.mine`."""
        distances = torch.cdist(embeddings[: len(same)], embeddings)
        positives = others(same)
        nearest_negative = distances.masked_fill(same, torch.inf).amin(1, keepdim=True)
        furthest_positive = distances.masked_fill(~positives, -torch.inf).amax(1, keepdim=True)
        hard_positives = positives & (distances > nearest_negative)
        hard_negatives = ~same & (distances < furthest_positive)
        positive = choose(prefer(hard_positives, positives), generator)
        negative = choose(prefer(hard_negatives, ~same), generator)
        rows = torch.arange(len(same), device=same.device)
        return MaskedTriplets(rows, positive, negative, positives.any(1) & ~same.all(1))
