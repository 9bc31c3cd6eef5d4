"""Batches that cover a random subset of the images: drawn by squared distance and density.

Squared distances as in k-means++ (Arthur & Vassilvitskii 2007, https://dl.acm.org/doi/10.5555/1283383.1283494),
times a Gaussian density: the code of Roth et al. 2020, https://arxiv.org/abs/2002.08473.
"""

import numpy as np
from torch import Tensor

from vmf_embeddings.samplers.embedding_based import EmbeddingBasedSampler, SquaredDistances

# times the mean variance, added to the diagonal: with few images the covariance is singular
JITTER = 1e-6


class D2CoresetSampler(EmbeddingBasedSampler):
    """Selects images by `d2_coreset` from a pool, and adds positives of each.

    The selected images are the first of a batch, their positives follow.

    Args:
        labels: see `EmbeddingBasedSampler`.
        batch_size: see `EmbeddingBasedSampler`.
        n_samples: see `EmbeddingBasedSampler`.
        pool_size: images drawn for each batch to select from; all if there are fewer.
        power: exponent of the sum of squared distances, >= 0; 0 = by density only.
        seed: >= 0.
    """

    def __init__(
        self,
        labels: Tensor,
        *,
        batch_size: int,
        n_samples: int,
        pool_size: int,
        power: float,
        seed: int,
    ) -> None:
        super().__init__(
            labels, batch_size=batch_size, n_samples=n_samples, pool_size=pool_size, seed=seed
        )
        if not 0 <= power < np.inf:
            raise ValueError(f"sampler.power must be >= 0, got {power}")
        self.power = power

    def batch(self, rng: np.random.Generator) -> np.ndarray:
        """See `EmbeddingBasedSampler.batch`."""
        pool = self.pool(rng)
        return self.add_positives(
            rng, pool[d2_coreset(rng, self.embeddings_of(pool), self.n_groups, self.power)]
        )


def d2_coreset(rng: np.random.Generator, points: np.ndarray, k: int, power: float) -> np.ndarray:
    """Points drawn one after the other by `d2_probabilities`.

    The first is the nearest one to a sample of the Gaussian with the points' mean and covariance.

    Args:
        rng: source of randomness.
        points: float64 [n, D].
        k: in 1..n.
        power: >= 0.

    Returns:
        int64 [k], all different, in the order of selection.
    """
    centred = points - points.mean(0)
    covariance = centred.T @ centred / max(len(points) - 1, 1)
    variance = max(float(np.trace(covariance)) / len(covariance), np.finfo(float).tiny / JITTER)
    root = np.linalg.cholesky(covariance + JITTER * variance * np.eye(len(covariance)))
    log_density = -0.5 * np.square(np.linalg.solve(root, centred.T)).sum(0)
    start = root @ rng.standard_normal(len(root))
    picks = [int(np.square(centred - start).sum(1).argmin())]
    distances, spread = SquaredDistances(points), np.zeros(len(points))
    while len(picks) < k:
        spread += distances[picks[-1]]
        probabilities = d2_probabilities(log_density, spread, np.array(picks), power)
        picks.append(int(rng.choice(len(points), p=probabilities)))
    return np.array(picks)


def d2_probabilities(
    log_density: np.ndarray, spread: np.ndarray, picks: np.ndarray, power: float
) -> np.ndarray:
    """Probability in proportion to density * spread^power of each point not yet selected.

    Args:
        log_density: [n], up to a constant.
        spread: [n] >= 0, sum of squared distances from the selected points.
        picks: the selected points [p], p < n.
        power: >= 0.

    Returns:
        [n], sums to 1; 0 for selected points. Where all distances are 0, only the density counts.

    >>> d2_probabilities(np.zeros(3), np.array([1.0, 1.0, 3.0]), np.array([0]), 1.0)
    array([0.  , 0.25, 0.75])
    """
    left = np.ones(len(spread), dtype=bool)
    left[picks] = False
    if power > 0 and (spread[left] > 0).any():
        left &= spread > 0
        log_density = log_density + power * np.log(np.where(left, spread, 1.0))
    weights = np.exp(np.where(left, log_density - log_density[left].max(), -np.inf))
    return weights / weights.sum()
