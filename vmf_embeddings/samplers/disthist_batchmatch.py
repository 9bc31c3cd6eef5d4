"""Batches with mean, standard deviation and pairwise distances similar to those of a larger pool.

Roth et al. 2020, "Revisiting Training Strategies and Generalization Performance in Deep Metric
Learning", section 4.2 (matching of distance distributions), https://arxiv.org/abs/2002.08473.
"""

import functools

import numpy as np
from torch import Tensor

from vmf_embeddings.samplers.embedding_based import EmbeddingBasedSampler
from vmf_embeddings.samplers.matching import Matching

N_BINS = 50


class DistHistBatchMatchSampler(EmbeddingBasedSampler):
    """Of `n_candidates` batches from a pool, the one with the smallest `histogram_costs`.

    Args:
        labels: see `EmbeddingBasedSampler`.
        batch_size: see `EmbeddingBasedSampler`.
        n_samples: see `Matching`.
        pool_size: see `Matching`.
        n_candidates: batches to choose from, >= 1.
        histogram_weight: see `histogram_costs`, >= 0.
        seed: >= 0.
    """

    balances = True

    def __init__(
        self,
        labels: Tensor,
        *,
        batch_size: int,
        n_samples: int,
        pool_size: int,
        n_candidates: int,
        histogram_weight: float,
        seed: int,
    ) -> None:
        sizes = {"batch_size": batch_size, "n_samples": n_samples, "pool_size": pool_size}
        super().__init__(labels, **sizes, seed=seed)
        if not 0 <= histogram_weight < np.inf:
            raise ValueError(f"sampler.histogram_weight must be >= 0, got {histogram_weight}")
        self.matching = Matching(self.positives, **sizes, n_candidates=n_candidates)
        self.costs = functools.partial(histogram_costs, weight=histogram_weight)

    def batch(self, rng: np.random.Generator) -> np.ndarray:
        """See `EmbeddingBasedSampler.batch`."""
        return self.matching.batch(rng, self.embeddings_of, self.costs)


def histogram_costs(points: np.ndarray, candidates: np.ndarray, *, weight: float) -> np.ndarray:
    """|m - m_c| + |s - s_c| + 2 weight W between all points and each candidate subset c.

    m and s are mean and standard deviation [D]. W is the earth mover's distance between the
    normalised histograms of pairwise distances, in equal bins over the range of all distances. The
    code of Roth et al. adds W in both directions, which gives the factor 2, and computes it between
    the heights of the bins as if they were distances; here it is between the histograms.

    Args:
        points: float64 [n, D], n >= 2.
        candidates: rows of `points`, int64 [K, m], m >= 2.
        weight: >= 0.

    Returns:
        [K], >= 0.

    >>> histogram_costs(np.array([[0.0], [2.0], [4.0]]), np.array([[0, 2]]), weight=0.0).round(3)
    array([0.367])
    """
    lengths = np.square(points).sum(1)
    squared = lengths[:, None] + lengths - 2 * points @ points.T
    distances = np.sqrt(np.maximum(squared, 0))
    of_all = distances[np.triu_indices(len(points), 1)]
    edges = np.linspace(of_all.min(), of_all.max(), N_BINS + 1)
    first, second = np.triu_indices(candidates.shape[1], 1)
    all_fractions = np.histogram(of_all, edges)[0] / len(of_all)
    moved = [
        np.histogram(distances[rows[first], rows[second]], edges)[0] / len(first) - all_fractions
        for rows in candidates
    ]
    earth = np.abs(np.cumsum(moved, axis=1)).sum(1) * (edges[1] - edges[0])
    chosen = points[candidates]
    means = np.linalg.norm(chosen.mean(1) - points.mean(0), axis=1)
    deviations = np.linalg.norm(chosen.std(1) - points.std(0), axis=1)
    return means + deviations + 2 * weight * earth
