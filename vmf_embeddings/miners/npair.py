"""One positive per anchor, combined with every negative.

Sohn 2016, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", section 3.2,
https://papers.nips.cc/paper/2016/hash/6b180037abbebea991d8b1232f8a8ca9-Abstract.html.
"""

import torch
from torch import Tensor

from vmf_embeddings.miners.base import MaskedTriplets, Miner, others
from vmf_embeddings.miners.draws import choose


class NPairMiner(Miner):
    """For each anchor with a positive, one random positive and all rows of other classes.

    Triplets are sorted by anchor, then by negative.
    """

    def mine(
        self, embeddings: Tensor, same: Tensor, generator: torch.Generator | None
    ) -> MaskedTriplets:
        """See `Miner.mine`."""
        positives = others(same)
        positive = choose(positives, generator)
        rows = torch.arange(same.shape[1], device=same.device)
        valid = positives.any(1, keepdim=True) & ~same
        return MaskedTriplets(rows[: len(same), None], positive[:, None], rows, valid)
