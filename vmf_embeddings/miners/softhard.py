"""Positives that are too far and negatives that are too near.

Roth & Brattoli 2019, https://github.com/Confusezius/Deep-Metric-Learning-Baselines, a random
choice in place of the extremes of Hermans et al. 2017, https://arxiv.org/abs/1703.07737.
"""

import torch
from torch import Tensor

from vmf_embeddings.miners.base import Miner, Triplets, others, select
from vmf_embeddings.miners.draws import choose
from vmf_embeddings.miners.semihard import prefer


class SofthardMiner(Miner):
    """One triplet per anchor, at random among what violates the order of distances.

    The positive is farther than the nearest negative, the negative nearer than the farthest
    positive; where there is none such, any. An anchor without positive or negative makes none.
    """

    def mine(self, embeddings: Tensor, same: Tensor, generator: torch.Generator | None) -> Triplets:
        """See `Miner.mine`."""
        distances = torch.cdist(embeddings, embeddings)
        partners = others(same)
        nearest = distances.masked_fill(same, torch.inf).amin(1, keepdim=True)
        farthest = distances.masked_fill(~partners, -torch.inf).amax(1, keepdim=True)
        positive = choose(prefer(partners & (distances > nearest), partners), generator)
        negative = choose(prefer(~same & (distances < farthest), ~same), generator)
        rows = torch.arange(len(same), device=same.device)
        return select(partners.any(1) & ~same.all(1), rows, positive, negative)
