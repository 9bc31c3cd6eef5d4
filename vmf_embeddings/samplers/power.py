"""Classes drawn in proportion to a power of their number of images.

Kang et al. 2020, "Decoupling Representation and Classifier for Long-Tailed Recognition",
https://arxiv.org/abs/1910.09217, equation 1.
"""

import math

import numpy as np
from torch import Tensor

from vmf_embeddings.samplers.weighted import WeightedSampler


class PowerSampler(WeightedSampler):
    """p_k in proportion to n_k^q: an image of class y is drawn with weight n_y^(q - 1).

    q = 1 is instance-balanced, 1/2 square-root, 0 class-balanced and -1 reversed sampling (BBN,
    Zhou et al. 2020, https://arxiv.org/abs/1912.02413). GLMC's weighted loader, in which images
    have weight n_y^-r (`resample_weighting`), is q = 1 - r.

    Args:
        labels: integer classes [N] in 0..C-1, none of them empty.
        batch_size: images per batch, >= 1.
        q: exponent, any finite number.
        seed: >= 0.
    """

    def __init__(self, labels: Tensor, *, batch_size: int, q: float, seed: int) -> None:
        super().__init__(labels, batch_size=batch_size, seed=seed)
        if not math.isfinite(q):
            raise ValueError(
                f"sampler.q must be a finite exponent (1 = as the data, 0 = balanced), got {q}"
            )
        self.q = q

    @property
    def balances(self) -> bool:
        """Whether q is closer to 0 (uniform classes) than to 1 (classes as in the data)."""
        return self.q < 0.5

    def class_probabilities(self) -> np.ndarray:
        """n_k^q / sum_j n_j^q, [C]."""
        logs = self.q * np.log(self.classes.counts)
        weights = np.exp(logs - logs.max())
        return weights / weights.sum()
