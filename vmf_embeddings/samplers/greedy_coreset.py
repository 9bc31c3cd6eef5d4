"""Batches that cover a random part of the images: each pick is the farthest from the others.

Greedy coresets for batches: Sinha et al. 2020, "Small-GAN", https://arxiv.org/abs/1910.13540; in
metric learning Roth et al. 2020, section 4.2, https://arxiv.org/abs/2002.08473. The greedy rule:
Gonzalez 1985, https://doi.org/10.1016/0304-3975(85)90224-5.
"""

import numpy as np
from torch import Tensor

from vmf_embeddings.samplers.base import positive
from vmf_embeddings.samplers.embedding_based import EmbeddingBasedSampler, SquaredDistances

SOFTENED_PERCENTILE = 97


class GreedyCoresetSampler(EmbeddingBasedSampler):
    """Picks images by `k_center_greedy` from a pool; each gets partners of its class.

    The picks stand first in a batch, their partners after them.

    Args:
        labels: see `EmbeddingBasedSampler`.
        batch_size: see `EmbeddingBasedSampler`.
        n_samples: see `EmbeddingBasedSampler`.
        pool_size: images drawn for each batch to pick from; all where there are fewer.
        projection_dim: dimension, >= 1, of a random linear map that distances are measured after,
            a new one for each batch; None = the embeddings themselves.
        softened: whether a pick is any of the 3% that are farthest from those before it.
        seed: >= 0.
    """

    def __init__(
        self,
        labels: Tensor,
        *,
        batch_size: int,
        n_samples: int,
        pool_size: int,
        projection_dim: int | None,
        softened: bool,
        seed: int,
    ) -> None:
        super().__init__(
            labels, batch_size=batch_size, n_samples=n_samples, pool_size=pool_size, seed=seed
        )
        if projection_dim is not None:
            positive(projection_dim=projection_dim)
        self.projection_dim, self.softened = projection_dim, softened

    def batch(self, rng: np.random.Generator) -> np.ndarray:
        """See `EmbeddingBasedSampler.batch`."""
        pool = self.pool(rng)
        points = self.embeddings_of(pool)
        if self.projection_dim is not None:
            points = points @ rng.standard_normal((points.shape[1], self.projection_dim))
        percentile = SOFTENED_PERCENTILE if self.softened else 100
        picks = k_center_greedy(rng, points, self.n_groups, percentile=percentile)
        return self.add_positives(rng, pool[picks])


def k_center_greedy(
    rng: np.random.Generator, points: np.ndarray, k: int, *, percentile: float = 100
) -> np.ndarray:
    """A random point, then always the point farthest from the nearest of those picked.

    The largest distance that is left is at most twice the least possible with k points.

    Args:
        rng: picks the first point, and among several that are far enough.
        points: float64 [n, D].
        k: in 1..n.
        percentile: in [0, 100]; candidates are the points not picked whose distance is at or above
            this percentile of the points not picked, 100 = the farthest.

    Returns:
        int64 [k], all different, in the order of picking.
    """
    distances = SquaredDistances(points)
    picks = [int(rng.integers(len(points)))]
    left = np.ones(len(points), dtype=bool)
    nearest = np.full(len(points), np.inf)
    while len(picks) < k:
        left[picks[-1]] = False
        nearest = np.minimum(nearest, distances[picks[-1]])
        bound = np.percentile(nearest[left], percentile)
        candidates = np.flatnonzero(left & (nearest >= bound))
        picks.append(int(rng.choice(candidates)))
    return np.array(picks)
