"""Negatives by a histogram over their distance.

The fixed policies of Roth et al. 2020, "PADS: Policy-Adapted Sampling for Visual Similarity
Learning", section 3, https://arxiv.org/abs/2003.11113.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vmf_embeddings.miners.base import Miner, Triplets
from vmf_embeddings.miners.distance import among, one_per_anchor, sphere_distances

RANGES = {"uniform": (0.0, 2.0), "hards": (0.0, 0.5), "semihards": (0.3, 0.7)}
RANGES |= {"veryhards": (0.0, 0.3)}


class ParametricMiner(Miner):
    """One triplet per anchor, its negative with the weight of the bin of its distance.

    Embeddings are compared on the unit sphere. The weight is of each negative: a bin with many of
    them is drawn from more often. Where no negative of an anchor has a weight, all are alike. The
    positive is any other row of the class, the anchor itself where there is none.

    Args:
        policy: weights of the bins, n_bins numbers >= 0, or a name: "uniform", "hards" (d <= 0.5),
            "semihards" (0.3 <= d <= 0.7), "veryhards" (d <= 0.3); by the middles of the bins.
        n_bins: equal bins, >= 1.
        low: where the first bin begins, >= 0.
        high: where the last one ends, > low.
    """

    def __init__(self, policy: str | Sequence[float], n_bins: int, low: float, high: float) -> None:
        if not 0 <= low < high:
            raise ValueError(f"miner.params: expected 0 <= low < high, got {low} and {high}")
        if n_bins < 1:
            raise ValueError(f"miner.params.n_bins must be >= 1, got {n_bins}")
        self.low, self.high = low, high
        self.bin_weights = bin_weights(policy, n_bins, low, high)

    def mine(self, embeddings: Tensor, same: Tensor, generator: torch.Generator | None) -> Triplets:
        """See `Miner.mine`."""
        table = self.bin_weights.to(same.device)
        place = (sphere_distances(embeddings) - self.low) / (self.high - self.low) * len(table)
        inside = (place >= 0) & (place < len(table))
        weights = table[place.long().clamp(0, len(table) - 1)]
        drawn = ~same & inside & (weights > 0)
        return one_per_anchor(same, among(weights.log(), drawn, ~same), generator)


def bin_weights(policy: str | Sequence[float], n_bins: int, low: float, high: float) -> Tensor:
    """Weights of equal bins of [low, high), float64 [n_bins].

    Raises:
        ValueError: a policy of another name or length, with negative or without positive weights.

    >>> bin_weights("semihards", 5, 0.0, 1.0)
    tensor([0., 1., 1., 1., 0.], dtype=torch.float64)
    """
    if isinstance(policy, str):
        if policy not in RANGES:
            raise ValueError(
                f"miner.params.policy must be one of {tuple(RANGES)} or {n_bins} weights, got "
                f"{policy!r}"
            )
        first, last = RANGES[policy]
        width = (high - low) / n_bins
        middles = low + width * (torch.arange(n_bins, dtype=torch.float64) + 0.5)
        middles = middles.round(decimals=9)  # 0.7 may have become 0.7000000000000001
        weights = ((middles >= first) & (middles <= last)).double()
    else:
        weights = torch.tensor(list(policy), dtype=torch.float64)
    if len(weights) != n_bins or not (weights >= 0).all() or not weights.sum() > 0:
        raise ValueError(
            f"miner.params.policy must give n_bins={n_bins} weights >= 0, one of them above 0, "
            f"in bins from {low} to {high}; got {weights.tolist()}"
        )
    return weights
