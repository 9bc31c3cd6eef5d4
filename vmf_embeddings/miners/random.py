"""Random triplets, all with the same probability."""

import torch
from torch import Tensor

from vmf_embeddings.miners.base import Miner, Triplets, others
from vmf_embeddings.miners.draws import distinct


class RandomMiner(Miner):
    """B different triplets, sampled uniformly from all triplets of a batch of B rows.

    All of them if there are fewer than B.
    """

    def mine(self, embeddings: Tensor, same: Tensor, generator: torch.Generator | None) -> Triplets:
        """See `Miner.mine`."""
        positives = others(same)
        n_negatives = (~same).sum(1)
        # triplets are numbered by anchor, then positive, then negative
        ends = (positives.sum(1) * n_negatives).cumsum(0)
        number = distinct(int(ends[-1]), len(same), same, generator)
        anchor = torch.searchsorted(ends, number, right=True)
        within_anchor = number - torch.cat([ends.new_zeros(1), ends])[anchor]
        width = n_negatives[anchor]
        return Triplets(
            anchor,
            _columns(positives)[anchor, within_anchor // width],
            _columns(~same)[anchor, within_anchor % width],
        )


def _columns(allowed: Tensor) -> Tensor:
    """Column indices [B, B]: in each row the allowed columns, ascending, then the others."""
    return (~allowed).byte().argsort(dim=1, stable=True)
