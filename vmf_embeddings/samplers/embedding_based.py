"""Samplers that choose batches by where the images are embedded.

Roth et al. 2020, "Revisiting Training Strategies and Generalization Performance in Deep Metric
Learning", section 4.2, https://arxiv.org/abs/2002.08473.
"""

from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.samplers.base import BatchSampler, n_groups
from vmf_embeddings.samplers.positives import Positives

ROUNDING = 1e-12  # of the longest squared length: what is below is rounding of float32 and of sums


class EmbeddingBasedSampler(BatchSampler):
    """Draws a batch from a random part of the images, its pool, by their embeddings.

    The embeddings are those of the beginning of the epoch, so that an epoch is a function of them,
    the seed and its number: nothing else has to be restored.

    Args:
        labels: integer classes [N] in 0..C-1, none of them empty.
        batch_size: images per batch, a multiple of `n_samples`; floor(N / batch_size) batches
            make an epoch, at least one.
        n_samples: images of a class that stand together, >= 1.
        pool_size: images that a batch is chosen from, >= batch_size / n_samples.
        seed: >= 0.
    """

    needs_embeddings = True

    def __init__(
        self, labels: Tensor, *, batch_size: int, n_samples: int, pool_size: int, seed: int
    ) -> None:
        super().__init__(labels, seed=seed)
        self.n_groups = n_groups(batch_size, n_samples)
        if min(pool_size, len(self.labels)) < self.n_groups:
            raise ValueError(
                f"sampler.batch_size={batch_size} with sampler.n_samples={n_samples} chooses "
                f"{self.n_groups} images from sampler.pool_size={pool_size} of {len(self.labels)}: "
                "make the batch smaller or the pool larger"
            )
        self.batch_size, self.n_samples, self.pool_size = batch_size, n_samples, pool_size
        self.positives = Positives(self.labels)
        self.embeddings: np.ndarray | None = None

    def update_embeddings(self, embeddings: Tensor) -> None:
        """Takes the embeddings [N, D] of all images, in their order; distances are Euclidean."""
        if embeddings.ndim != 2 or len(embeddings) != len(self.labels):
            raise ValueError(
                f"expected embeddings [{len(self.labels)}, D] of all images, got "
                f"{tuple(embeddings.shape)}"
            )
        if not embeddings.isfinite().all():
            raise ValueError("expected finite embeddings to choose batches by, got others")
        self.embeddings = embeddings.detach().cpu().float().numpy()

    def __len__(self) -> int:
        return max(len(self.labels) // self.batch_size, 1)

    def __iter__(self) -> Iterator[Tensor]:
        if self.embeddings is None:
            raise ValueError(
                "this sampler chooses by embeddings: call update_embeddings(embeddings) first"
            )
        rng = self.generator()
        for _ in range(len(self)):
            yield torch.from_numpy(self.batch(rng))

    @abstractmethod
    def batch(self, rng: np.random.Generator) -> np.ndarray:
        """The images [batch_size] of one batch."""

    def pool(self, rng: np.random.Generator) -> np.ndarray:
        """Different images [n] at random to choose from, all of them where there are few."""
        n = len(self.labels)
        return rng.choice(n, min(self.pool_size, n), replace=False)

    def embeddings_of(self, images: np.ndarray) -> np.ndarray:
        """Embeddings of some images, float64 [n, D]."""
        return self.embeddings[images].astype(np.float64)

    def add_positives(self, rng: np.random.Generator, picks: np.ndarray) -> np.ndarray:
        """A batch: images [n_groups], then others of their classes, from all images."""
        others = self.positives.draw(rng, picks, self.n_samples - 1)
        return np.concatenate([picks, others.ravel()])


class SquaredDistances:
    """Squared Euclidean distances among points, a row at a time.

    By inner products: a product with a vector costs less than the differences do.

    Args:
        points: float64 [n, D].
    """

    def __init__(self, points: np.ndarray) -> None:
        self.points, self.lengths = points, np.square(points).sum(1)
        self.rounding = ROUNDING * self.lengths.max()

    def __getitem__(self, row: int) -> np.ndarray:
        """Distances [n] from one of the points, >= 0; 0 where two are equal."""
        squared = self.lengths + self.lengths[row] - 2 * self.points @ self.points[row]
        return np.where(squared > self.rounding, squared, 0.0)
