"""Batches that cover a random pool of images: the next image is the farthest from those selected.

Greedy coresets for batches: Sinha et al. 2020, "Small-GAN", https://arxiv.org/abs/1910.13540; in
metric learning Roth et al. 2020, section 4.2, https://arxiv.org/abs/2002.08473. The algorithm:
Gonzalez 1985, https://doi.org/10.1016/0304-3975(85)90224-5.
"""

import numpy as np
from torch import Tensor

from vmf_embeddings.samplers.base import check_positive
from vmf_embeddings.samplers.embedding_based import EmbeddingBasedSampler, SquaredDistances

SOFTENED_PERCENTILE = 97


class GreedyCoresetSampler(EmbeddingBasedSampler):
    """Selects images by `k_center_greedy` from a pool, and adds positives of each.

    The selected images are the first of a batch, their positives follow.

    Args:
        labels: see `EmbeddingBasedSampler`.
        batch_size: see `EmbeddingBasedSampler`.
        n_samples: see `EmbeddingBasedSampler`.
        pool_size: images drawn for each batch to select from; all if there are fewer.
        projection_dim: dimension, >= 1, of a random projection in which distances are computed, a
            new one for each batch; None = no projection.
        softened: whether the next image is any of the 3% that are farthest, instead of the
            farthest.
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
            check_positive(projection_dim=projection_dim)
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
    """k-center greedy: a random point, then repeatedly the point farthest from all selected ones.

    The largest distance of a point from the selected ones is at most twice the least possible.

    Args:
        rng: draws the first point, and one of several that are equally far.
        points: float64 [n, D].
        k: in 1..n.
        percentile: in [0, 100]; the next point is any whose distance is at or above this percentile
            of the points not yet selected; 100 = the farthest.

    Returns:
        int64 [k], all different, in the order of selection.
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
