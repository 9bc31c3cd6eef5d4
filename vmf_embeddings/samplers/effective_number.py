"""Images drawn by the inverse of the effective number of their class.

Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples",
https://arxiv.org/abs/1901.05555, equation 2, as a sampler.
"""

import numpy as np
from torch import Tensor

from vmf_embeddings.samplers.weighted import WeightedSampler


class EffectiveNumberSampler(WeightedSampler):
    """An image of class y is drawn with weight (1 - beta) / (1 - beta^n_y).

    As beta -> 0 all images are equally likely, as beta -> 1 all classes.

    Args:
        labels: integer classes [N] in 0..C-1, none of them empty.
        batch_size: images per batch, >= 1.
        beta: in (0, 1).
        seed: >= 0.
    """

    balances = True

    def __init__(self, labels: Tensor, *, batch_size: int, beta: float, seed: int) -> None:
        super().__init__(labels, batch_size=batch_size, seed=seed)
        if not 0.0 < beta < 1.0:
            raise ValueError(f"sampler.beta must be in (0, 1), got {beta}")
        self.beta = beta

    def class_probabilities(self) -> np.ndarray:
        """n_k / (1 - beta^n_k) over its sum, [C]."""
        counts = self.classes.counts
        weights = counts / -np.expm1(counts * np.log(self.beta))
        return weights / weights.sum()
