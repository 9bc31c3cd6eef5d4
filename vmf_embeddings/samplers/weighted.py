"""Base class of samplers that draw a class by its probability, then one of its images uniformly."""

from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.samplers.base import BatchSampler, check_positive, n_batches, split_into_batches
from vmf_embeddings.samplers.classes import Classes


class WeightedSampler(BatchSampler):
    """N draws per epoch with replacement: a class by `class_probabilities`, then one of its images.

    Args:
        labels: integer classes [N] in 0..C-1, none of them empty.
        batch_size: images per batch, >= 1; the last one may be smaller.
        seed: >= 0.
    """

    def __init__(self, labels: Tensor, *, batch_size: int, seed: int) -> None:
        super().__init__(labels, seed=seed)
        check_positive(batch_size=batch_size)
        self.batch_size = batch_size
        self.classes = Classes(self.labels)

    @abstractmethod
    def class_probabilities(self) -> np.ndarray:
        """Probabilities [C] float64 of this epoch, which sum to 1."""

    def __len__(self) -> int:
        return n_batches(len(self.labels), self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        rng, n = self.generator(), len(self.labels)
        classes = draw_classes(rng, self.class_probabilities(), n)
        order = self.classes.image(classes, rng.integers(self.classes.counts[classes]))
        yield from split_into_batches(torch.from_numpy(order), self.batch_size)


def draw_classes(rng: np.random.Generator, probabilities: np.ndarray, n: int) -> np.ndarray:
    """Independent draws int64 [n] of classes with probabilities [C]."""
    edges = np.cumsum(probabilities)
    return np.searchsorted(edges / edges[-1], rng.random(n), side="right")
