"""Triplets of which all are alike."""

import torch
from torch import Tensor

from vmf_embeddings.miners.base import Miner, Triplets, others
from vmf_embeddings.miners.draws import distinct


class RandomMiner(Miner):
    """B different triplets of all that a batch of B rows has; all of them where it has fewer."""

    def mine(self, embeddings: Tensor, same: Tensor, generator: torch.Generator | None) -> Triplets:
        """See `Miner.mine`."""
        partners = others(same)
        n_negatives = (~same).sum(1)
        ends = (partners.sum(1) * n_negatives).cumsum(0)
        number = distinct(int(ends[-1]), len(same), same, generator)
        anchor = torch.searchsorted(ends, number, right=True)
        place = number - torch.cat([ends.new_zeros(1), ends])[anchor]
        width = n_negatives[anchor]
        return Triplets(
            anchor,
            _columns(partners)[anchor, place // width],
            _columns(~same)[anchor, place % width],
        )


def _columns(allowed: Tensor) -> Tensor:
    """In each row of bool [B, B] the allowed columns in order, then the others."""
    return (~allowed).byte().argsort(dim=1, stable=True)
