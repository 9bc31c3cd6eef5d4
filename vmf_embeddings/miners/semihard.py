"""Semi-hard negatives: further than the positive by less than a margin.

Schroff et al. 2015, "FaceNet", section 3.2, https://arxiv.org/abs/1503.03832.
"""

import torch
from torch import Tensor

from vmf_embeddings.miners.base import MaskedTriplets, Miner, others
from vmf_embeddings.miners.draws import choose


class SemihardMiner(Miner):
    """One triplet per anchor: a random positive, a negative with d_ap < d_an < d_ap + margin.

    If there is no such negative, a random one. Anchors without a positive or negative are in none.

    Args:
        margin: a distance between embeddings, > 0; usually that of the criterion.
    """

    def __init__(self, margin: float) -> None:
        if not margin > 0:
            raise ValueError(f"miner.params.margin must be > 0, got {margin}")
        self.margin = margin

    def mine(
        self, embeddings: Tensor, same: Tensor, generator: torch.Generator | None
    ) -> MaskedTriplets:
        """See `Miner.mine`."""
        rows = torch.arange(len(same), device=same.device)
        distances = torch.cdist(embeddings[: len(same)], embeddings)
        positives = others(same)
        positive = choose(positives, generator)
        gap = distances - distances[rows, positive][:, None]
        candidates = prefer(~same & (gap > 0) & (gap < self.margin), ~same)
        negative = choose(candidates, generator)
        return MaskedTriplets(rows, positive, negative, positives.any(1) & ~same.all(1))


def prefer(first: Tensor, second: Tensor) -> Tensor:
    """Row by row `first` if it has a true entry, otherwise `second`; all bool [A, B]."""
    return torch.where(first.any(1, keepdim=True), first, second)
