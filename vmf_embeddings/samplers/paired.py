"""Shuffled images, each paired with an image that is drawn by the frequency of its class.

The two loaders of GLMC (Du et al. 2023, https://arxiv.org/abs/2305.08661), section 3.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.samplers.base import BatchSampler, check_positive


class PairedSampler(BatchSampler):
    """2 B indices per batch: B from a shuffled epoch, then B drawn with weights 1 / n_y^q.

    Rows i and B + i form a pair, which a method may mix. The first halves of all batches contain
    every image once; the last one is completed from the beginning of the same order. So all batches
    have the same size, and if B is a multiple of the number of processes W, the rows of each
    process (every W-th row) contain both images of their pairs.

    Args:
        labels: integer classes [N], any values.
        batch_size: B, pairs per batch, >= 1.
        power: q >= 0. An image of class y is drawn with probability in proportion to n_y^-q: 0 =
            all images equally likely, 1 = all classes equally likely.
        replacement: True = independent draws; False = a weighted random order of all images, and
            another one when it is exhausted.
        seed: >= 0.
    """

    pairs: ClassVar[bool] = True

    def __init__(
        self, labels: Tensor, *, batch_size: int, power: float, replacement: bool, seed: int
    ) -> None:
        super().__init__(labels, seed=seed)
        check_positive(batch_size=batch_size)
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
        """A random order of all images: weighted sampling without replacement.

        The images sorted by exponential random numbers whose rates are the probabilities
        (Efraimidis and Spirakis 2006, https://doi.org/10.1016/j.ipl.2005.11.003).
        """
        return np.argsort(rng.standard_exponential(len(self.labels)) / self.probabilities)
