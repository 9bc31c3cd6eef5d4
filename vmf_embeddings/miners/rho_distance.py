"""Distance-weighted triplets, some of which have a negative of the anchor's own class.

Rho-regularisation of Roth et al. 2020, "Revisiting Training Strategies and Generalization
Performance in Deep Metric Learning", section 5, https://arxiv.org/abs/2002.08473.
"""

import torch
from torch import Tensor

from vmf_embeddings.miners.base import MaskedTriplets, Miner, others
from vmf_embeddings.miners.distance import cutoffs, log_weights
from vmf_embeddings.miners.draws import choose, choose_by_weight, uniform


class RhoDistanceMiner(Miner):
    """As `DistanceMiner`, or with some probability (anchor, anchor, another row of its class).

    An anchor that is alone in its class is in no triplet.

    Args:
        switch_probability: probability that the negative is of the anchor's own class, in [0, 1].
        lower: see `DistanceMiner`.
        upper: see `DistanceMiner`.
        variant: see `DistanceMiner`.
    """

    def __init__(self, switch_probability: float, lower: float, upper: float, variant: str) -> None:
        if not 0 <= switch_probability <= 1:
            raise ValueError(
                f"miner.params.switch_probability must be in [0, 1], got {switch_probability}"
            )
        self.switch_probability = switch_probability
        self.lower, self.upper = cutoffs(lower, upper, variant)

    def mine(
        self, embeddings: Tensor, same: Tensor, generator: torch.Generator | None
    ) -> MaskedTriplets:
        """See `Miner.mine`."""
        rows = torch.arange(len(same), device=same.device)
        positives = others(same)
        positive = choose(positives, generator)
        weights = log_weights(embeddings, ~same, lower=self.lower, upper=self.upper)
        negative = choose_by_weight(weights, generator)
        switch = uniform((len(same),), same, generator) < self.switch_probability
        return MaskedTriplets(
            rows,
            torch.where(switch, rows, positive),
            torch.where(switch, positive, negative),
            valid=positives.any(1) & (switch | ~same.all(1)),
        )
