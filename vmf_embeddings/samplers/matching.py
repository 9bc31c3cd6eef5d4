"""Selects, of several batches drawn from a pool, the one most similar to the pool."""

from collections.abc import Callable

import numpy as np

from vmf_embeddings.samplers.base import check_positive
from vmf_embeddings.samplers.positives import Positives, draw_numbers


class Matching:
    """Draws a pool of images, candidate batches from it, and selects one of these by a cost.

    Pool and batches consist of groups of images of one class. The classes of the pool are drawn
    with replacement, the groups of a batch without.

    Args:
        positives: the images of each class.
        batch_size: images per batch, a multiple of `n_samples`.
        n_samples: images per group; all different if the class has enough.
        pool_size: images in the pool, >= batch_size and a multiple of `n_samples`.
        n_candidates: batches to choose from, >= 1.
    """

    def __init__(
        self,
        positives: Positives,
        *,
        batch_size: int,
        n_samples: int,
        pool_size: int,
        n_candidates: int,
    ) -> None:
        check_positive(n_candidates=n_candidates)
        if pool_size % n_samples or pool_size < batch_size:
            raise ValueError(
                f"sampler.pool_size must be >= sampler.batch_size={batch_size} and a multiple of "
                f"sampler.n_samples={n_samples}, got {pool_size}"
            )
        self.classes, self.n_samples = positives.classes, n_samples
        self.n_groups, self.n_pooled = batch_size // n_samples, pool_size // n_samples
        self.n_candidates = n_candidates

    def pool(self, rng: np.random.Generator) -> np.ndarray:
        """Images [pool_size]; those of a group are adjacent."""
        classes = rng.integers(len(self.classes), size=self.n_pooled)
        numbers = draw_numbers(rng, self.classes.counts[classes], self.n_samples)
        return self.classes.image(classes[:, None], numbers).ravel()

    def candidates(self, rng: np.random.Generator) -> np.ndarray:
        """Batches [n_candidates, batch_size] of whole groups, as positions in the pool."""
        groups = np.arange(self.n_pooled * self.n_samples).reshape(self.n_pooled, -1)
        drawn = (rng.permutation(self.n_pooled)[: self.n_groups] for _ in range(self.n_candidates))
        return np.stack([groups[chosen].ravel() for chosen in drawn])

    def batch(
        self,
        rng: np.random.Generator,
        points_of: Callable[[np.ndarray], np.ndarray],
        costs: Callable[[np.ndarray, np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """The images [batch_size] of the candidate with the smallest cost.

        Args:
            rng: source of randomness.
            points_of: embeddings float64 [n, D] of images [n].
            costs: (pool [n, D], candidates [K, m] as rows of it) -> their dissimilarity [K].
        """
        pool, candidates = self.pool(rng), self.candidates(rng)
        return pool[candidates[costs(points_of(pool), candidates).argmin()]]
