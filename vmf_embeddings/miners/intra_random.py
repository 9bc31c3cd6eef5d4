"""Triplets inside one class.

Roth et al. 2020, https://arxiv.org/abs/2002.08473: what distances inside classes are worth.
"""

import torch
from torch import Tensor

from vmf_embeddings.miners.base import Miner, Triplets
from vmf_embeddings.miners.draws import choose


class IntraRandomMiner(Miner):
    """B times a class of the batch, all alike, and three of its rows, with replacement.

    The "negative" has the class of the others, and rows of a triplet may be the same.
    """

    def mine(self, embeddings: Tensor, same: Tensor, generator: torch.Generator | None) -> Triplets:
        """See `Miner.mine`."""
        rows = torch.arange(len(same), device=same.device)
        first_of_class = same.byte().argmax(1) == rows
        members = same[choose(first_of_class.expand(len(same), -1), generator)]
        return Triplets(*(choose(members, generator) for _ in range(3)))
