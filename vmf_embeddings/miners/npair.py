"""One positive per anchor, against every negative.

Sohn 2016, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", section 3.2,
https://papers.nips.cc/paper/2016/hash/6b180037abbebea991d8b1232f8a8ca9-Abstract.html.
"""

import torch
from torch import Tensor

from vmf_embeddings.miners.base import Miner, Triplets, others
from vmf_embeddings.miners.draws import choose


class NPairMiner(Miner):
    """For each anchor with a partner, one positive at random and all rows of other classes.

    The triplets of an anchor stand together, anchors and negatives in the order of the batch.
    """

    def mine(self, embeddings: Tensor, same: Tensor, generator: torch.Generator | None) -> Triplets:
        """See `Miner.mine`."""
        partners = others(same)
        positive = choose(partners, generator)
        anchor, negative = (partners.any(1, keepdim=True) & ~same).nonzero(as_tuple=True)
        return Triplets(anchor, positive[anchor], negative)
