"""Distance-weighted triplets, some of which push apart rows of one class.

Rho-regularisation of Roth et al. 2020, "Revisiting Training Strategies and Generalization
Performance in Deep Metric Learning", section 5, https://arxiv.org/abs/2002.08473.
"""

import torch
from torch import Tensor

from vmf_embeddings.miners.base import Miner, Triplets, others, select
from vmf_embeddings.miners.distance import cuts, log_weights
from vmf_embeddings.miners.draws import choose, choose_by_weight, uniform


class RhoDistanceMiner(Miner):
    """As `DistanceMiner`, and with some probability (a, a, another row of the class) instead.

    An anchor that is alone in its class makes no triplet.

    Args:
        switch_probability: in [0, 1], how often the negative is of the anchor's own class.
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
        self.lower, self.upper = cuts(lower, upper, variant)

    def mine(self, embeddings: Tensor, same: Tensor, generator: torch.Generator | None) -> Triplets:
        """See `Miner.mine`."""
        rows = torch.arange(len(same), device=same.device)
        partners = others(same)
        partner = choose(partners, generator)
        weights = log_weights(embeddings, ~same, lower=self.lower, upper=self.upper)
        negative = choose_by_weight(weights, generator)
        switch = uniform((len(same),), same, generator) < self.switch_probability
        return select(
            partners.any(1) & (switch | ~same.all(1)),
            rows,
            torch.where(switch, rows, partner),
            torch.where(switch, partner, negative),
        )
