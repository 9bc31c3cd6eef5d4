"""Negatives sampled by a histogram over their distance to the anchor.

The fixed policies of Roth et al. 2020, "PADS: Policy-Adapted Sampling for Visual Similarity
Learning", section 3, https://arxiv.org/abs/2003.11113.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vmf_embeddings.miners.base import MaskedTriplets, Miner
from vmf_embeddings.miners.distance import one_per_anchor, restrict_weights, sphere_distances

RANGES = {"uniform": (0.0, 2.0), "hards": (0.0, 0.5), "semihards": (0.3, 0.7)}
RANGES |= {"veryhards": (0.0, 0.3)}


class ParametricMiner(Miner):
    """One triplet per anchor, its negative sampled by the weight of the bin of its distance.

    Distances are those of the normalised embeddings. Each negative has the weight of its bin, so a
    bin with more negatives is sampled from more often. If all negatives of an anchor have weight 0,
    they are sampled uniformly. The positive is a random other row of the class, or the anchor
    itself if there is none.

    Args:
        policy: weights of the bins, n_bins numbers >= 0, or a name: "uniform", "hards" (d <= 0.5),
            "semihards" (0.3 <= d <= 0.7), "veryhards" (d <= 0.3), which give weight 1 to bins whose
            centre d is in that range.
        n_bins: number of bins of equal width, >= 1.
        low: lower edge of the first bin, >= 0.
        high: upper edge of the last bin, > low.
    """

    def __init__(self, policy: str | Sequence[float], n_bins: int, low: float, high: float) -> None:
        if not 0 <= low < high:
            raise ValueError(f"miner.params: expected 0 <= low < high, got {low} and {high}")
        if n_bins < 1:
            raise ValueError(f"miner.params.n_bins must be >= 1, got {n_bins}")
        self.low, self.high = low, high
        self.bin_weights = bin_weights(policy, n_bins, low, high)

    def mine(
        self, embeddings: Tensor, same: Tensor, generator: torch.Generator | None
    ) -> MaskedTriplets:
        """See `Miner.mine`; the weights of the bins stay on the device of the last batch."""
        if self.bin_weights.device != same.device:
            self.bin_weights = self.bin_weights.to(same.device)
        by_bin = self.bin_weights
        distances = sphere_distances(embeddings, len(same))
        bins = (distances - self.low) / (self.high - self.low) * len(by_bin)
        inside = (bins >= 0) & (bins < len(by_bin))
        weights = by_bin[bins.long().clamp(0, len(by_bin) - 1)]
        allowed = ~same & inside & (weights > 0)
        weights = restrict_weights(weights.log(), allowed, ~same)
        return one_per_anchor(same, weights, generator)


def bin_weights(policy: str | Sequence[float], n_bins: int, low: float, high: float) -> Tensor:
    """Weights of the bins of equal width of [low, high), float64 [n_bins].

    Raises:
        ValueError: the policy has an unknown name, another length, a negative weight or only zeros.

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
        centres = low + width * (torch.arange(n_bins, dtype=torch.float64) + 0.5)
        centres = centres.round(decimals=9)  # 0.7 may have become 0.7000000000000001
        weights = ((centres >= first) & (centres <= last)).double()
    else:
        weights = torch.tensor(list(policy), dtype=torch.float64)
    if len(weights) != n_bins or not (weights >= 0).all() or not weights.sum() > 0:
        raise ValueError(
            f"miner.params.policy must give n_bins={n_bins} weights >= 0, one of them above 0, "
            f"in bins from {low} to {high}; got {weights.tolist()}"
        )
    return weights
