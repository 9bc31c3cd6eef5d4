"""Negatives a little farther than the positive.

Schroff et al. 2015, "FaceNet", section 3.2, https://arxiv.org/abs/1503.03832.
"""

import torch
from torch import Tensor

from vmf_embeddings.miners.base import Miner, Triplets, others, select
from vmf_embeddings.miners.draws import choose


class SemihardMiner(Miner):
    """One triplet per anchor: any positive, a negative with d_ap < d_an < d_ap + margin.

    Where no negative lies there, any of them. An anchor without positive or negative makes none.

    Args:
        margin: > 0, in the unit of the embeddings; that of the criterion, usually.
    """

    def __init__(self, margin: float) -> None:
        if not margin > 0:
            raise ValueError(f"miner.params.margin must be > 0, got {margin}")
        self.margin = margin

    def mine(self, embeddings: Tensor, same: Tensor, generator: torch.Generator | None) -> Triplets:
        """See `Miner.mine`."""
        rows = torch.arange(len(same), device=same.device)
        distances = torch.cdist(embeddings, embeddings)
        partners = others(same)
        positive = choose(partners, generator)
        gap = distances - distances[rows, positive][:, None]
        wanted = prefer(~same & (gap > 0) & (gap < self.margin), ~same)
        negative = choose(wanted, generator)
        return select(partners.any(1) & ~same.all(1), rows, positive, negative)


def prefer(first: Tensor, second: Tensor) -> Tensor:
    """Rows of `first` that allow anything, of `second` elsewhere; all bool [B, B]."""
    return torch.where(first.any(1, keepdim=True), first, second)
