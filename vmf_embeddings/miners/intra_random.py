"""Triplets within one class, for ablations.

Roth et al. 2020, https://arxiv.org/abs/2002.08473, on the role of distances within a class.
"""

import torch
from torch import Tensor

from vmf_embeddings.miners.base import Miner, Triplets
from vmf_embeddings.miners.draws import choose


class IntraRandomMiner(Miner):
    """B triplets, each of three rows of one random class of the batch, with replacement.

    The "negative" has the same class as anchor and positive; the three rows may coincide.
    """

    def mine(self, embeddings: Tensor, same: Tensor, generator: torch.Generator | None) -> Triplets:
        """See `Miner.mine`."""
        rows = torch.arange(len(same), device=same.device)
        first_of_class = same.byte().argmax(1) == rows
        members = same[choose(first_of_class.expand(len(same), -1), generator)]
        anchor = choose(members[:, : len(same)], generator)
        return Triplets(anchor, *(choose(members, generator) for _ in range(2)))
