"""Base class of samplers that choose batches by the embeddings of the images.

Roth et al. 2020, "Revisiting Training Strategies and Generalization Performance in Deep Metric
Learning", section 4.2, https://arxiv.org/abs/2002.08473.
"""

from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.samplers.base import BatchSampler, groups_per_batch
from vmf_embeddings.samplers.positives import Positives

ROUNDING = 1e-12  # times the largest squared norm: smaller squared distances are rounding errors


class EmbeddingBasedSampler(BatchSampler):
    """Selects each batch from a random subset of the images, its pool, by their embeddings.

    The embeddings are computed at the beginning of the epoch. The batches of an epoch are thus a
    function of these, the seed and the epoch; no other state has to be restored.

    Args:
        labels: integer classes [N] in 0..C-1, none of them empty.
        batch_size: images per batch, a multiple of `n_samples`; floor(N / batch_size) batches
            make an epoch, at least one.
        n_samples: images per group of one class, >= 1.
        pool_size: images that a batch is selected from, >= batch_size / n_samples.
        seed: >= 0.
    """

    needs_embeddings = True

    def __init__(
        self, labels: Tensor, *, batch_size: int, n_samples: int, pool_size: int, seed: int
    ) -> None:
        super().__init__(labels, seed=seed)
        self.n_groups = groups_per_batch(batch_size, n_samples)
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
        """Sets the embeddings [N, D] of all images, in order; distances between them are Euclidean.

        Raises:
            ValueError: wrong shape, or values that are not finite.
        """
        if embeddings.ndim != 2 or len(embeddings) != len(self.labels):
            raise ValueError(
                f"expected embeddings [{len(self.labels)}, D] of all images, got "
                f"{tuple(embeddings.shape)}"
            )
        if not embeddings.isfinite().all():
            raise ValueError("expected finite embeddings to choose batches by, got inf or nan")
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
        """Different random images [min(pool_size, N)] to select a batch from."""
        n = len(self.labels)
        return rng.choice(n, min(self.pool_size, n), replace=False)

    def embeddings_of(self, images: np.ndarray) -> np.ndarray:
        """Embeddings of some images, float64 [n, D]."""
        return self.embeddings[images].astype(np.float64)

    def add_positives(self, rng: np.random.Generator, anchors: np.ndarray) -> np.ndarray:
        """A batch: anchors [n_groups], then n_samples - 1 positives of each, from all images."""
        positives = self.positives.draw(rng, anchors, self.n_samples - 1)
        return np.concatenate([anchors, positives.ravel()])


class SquaredDistances:
    """Rows of the matrix of squared Euclidean distances between points, computed on access.

    |x|^2 + |y|^2 - 2 x.y: a product with a vector is faster than the differences.

    Args:
        points: float64 [n, D].
    """

    def __init__(self, points: np.ndarray) -> None:
        self.points, self.lengths = points, np.square(points).sum(1)
        self.rounding = ROUNDING * self.lengths.max()

    def __getitem__(self, row: int) -> np.ndarray:
        """Squared distances [n] from the point `row`, >= 0; 0 for equal points."""
        squared = self.lengths + self.lengths[row] - 2 * self.points @ self.points[row]
        return np.where(squared > self.rounding, squared, 0.0)
