"""Shuffled images, and as many partners drawn by the rarity of their class.

The two loaders of GLMC (Du et al. 2023, https://arxiv.org/abs/2305.08661), section 3.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.samplers.base import BatchSampler, positive


class PairedSampler(BatchSampler):
    """2 B indices a batch: B of a shuffled epoch, then B that rare classes may dominate.

    Row i and row B + i are partners, whom a method may mix. The first halves hold every image
    once; the last of them is filled up from the beginning of the same order, so that all batches
    are equally large and any number of processes that divides B finds partners in its share
    (every `world`-th row).

    Args:
        labels: integer classes [N], any values.
        batch_size: B, pairs per batch, >= 1.
        power: q >= 0. An image of class y is drawn with probability in proportion to n_y^-q: 0 =
            all images alike, 1 = all classes alike.
        replacement: whether an image can come twice before all have come; False draws a weighted
            order of all images, and another one when it is exhausted.
        seed: >= 0.
    """

    pairs: ClassVar[bool] = True

    def __init__(
        self, labels: Tensor, *, batch_size: int, power: float, replacement: bool, seed: int
    ) -> None:
        super().__init__(labels, seed=seed)
        positive(batch_size=batch_size)
        if not (power >= 0 and np.isfinite(power)):
            raise ValueError(f"sampler.power is an exponent q >= 0 of 1 / n_y^q, got {power}")
        self.batch_size = batch_size
        self.replacement = replacement
        _, classes, counts = np.unique(self.labels, return_inverse=True, return_counts=True)
        weights = counts[classes].astype(float) ** -power
        self.probabilities = weights / weights.sum()

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        rng = self.generator()
        shape = (len(self), self.batch_size)
        uniform = np.resize(rng.permutation(len(self.labels)), shape)
        weighted = self._weighted(rng, len(self) * self.batch_size).reshape(shape)
        yield from torch.from_numpy(np.concatenate([uniform, weighted], axis=1))

    def _weighted(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Indices [n] drawn by `probabilities`."""
        if self.replacement:
            return rng.choice(len(self.labels), n, p=self.probabilities)
        orders = -(-n // len(self.labels))
        return np.concatenate([self._weighted_order(rng) for _ in range(orders)])[:n]

    def _weighted_order(self, rng: np.random.Generator) -> np.ndarray:
        """All images, drawn one after another from those that are left.

        The order of exponential waiting times with these rates (Efraimidis and Spirakis 2006,
        https://doi.org/10.1016/j.ipl.2005.11.003).
        """
        return np.argsort(rng.standard_exponential(len(self.labels)) / self.probabilities)
