"""Batches whose mean and covariance are similar to those of a larger random pool of images.

Roth et al. 2020, "Revisiting Training Strategies and Generalization Performance in Deep Metric
Learning", section 4.2, https://arxiv.org/abs/2002.08473. The distance: Dowson & Landau 1982,
https://doi.org/10.1016/0047-259X(82)90077-X.
"""

import numpy as np
from torch import Tensor

from vmf_embeddings.samplers.embedding_based import EmbeddingBasedSampler
from vmf_embeddings.samplers.matching import Matching


class FidBatchMatchSampler(EmbeddingBasedSampler):
    """Of `n_candidates` batches from a pool, the one with the smallest Frechet distance from it.

    Args:
        labels: see `EmbeddingBasedSampler`.
        batch_size: see `EmbeddingBasedSampler`.
        n_samples: see `Matching`.
        pool_size: see `Matching`.
        n_candidates: batches to choose from, >= 1.
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
        seed: int,
    ) -> None:
        sizes = {"batch_size": batch_size, "n_samples": n_samples, "pool_size": pool_size}
        super().__init__(labels, **sizes, seed=seed)
        self.matching = Matching(self.positives, **sizes, n_candidates=n_candidates)

    def batch(self, rng: np.random.Generator) -> np.ndarray:
        """See `EmbeddingBasedSampler.batch`."""
        return self.matching.batch(rng, self.embeddings_of, frechet_distances)


def frechet_distances(points: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Frechet distance between the Gaussian of all points and that of each candidate subset c.

    |m - m_c|^2 + tr S + tr S_c - 2 tr (S S_c)^(1/2). With S = A'A and S_c = B'B from centred rows,
    tr (S S_c)^(1/2) is the sum of the singular values of A B'. So no matrix square root is needed,
    and covariances may be singular.

    Args:
        points: float64 [n, D], n >= 2.
        candidates: rows of `points`, int64 [K, m], m >= 2.

    Returns:
        [K], >= 0 up to rounding.

    >>> points = np.array([[0.0], [2.0], [4.0]])
    >>> frechet_distances(points, np.array([[0, 1], [1, 2], [0, 2]])).round(3)
    array([1.343, 1.343, 0.686])
    """
    mean = points.mean(0)
    root = np.linalg.qr((points - mean) / np.sqrt(len(points) - 1), mode="r")
    chosen = points[candidates]
    means = chosen.mean(1)
    roots = (chosen - means[:, None]) / np.sqrt(candidates.shape[1] - 1)
    overlap = np.linalg.svd(root @ roots.transpose(0, 2, 1), compute_uv=False).sum(-1)
    traces = np.square(root).sum() + np.square(roots).sum((1, 2))
    return np.square(means - mean).sum(1) + traces - 2 * overlap
