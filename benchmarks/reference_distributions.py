"""Formulas of other libraries for von Mises-Fisher distributions, written plainly with SciPy.

"ive": log C from exponentially scaled Bessel functions, as hyperspherical-vae
(https://arxiv.org/abs/1804.00891) and TensorFlow Probability compute it. "banerjee": the estimate
of kappa of spherecluster and other code.
"""

import math

import numpy as np
from scipy.special import ive


def log_normalizer(kappa: np.ndarray, dim: int) -> np.ndarray:
    """log C = (d/2 - 1) log kappa - d/2 log(2 pi) - log ive(d/2 - 1, kappa) - kappa."""
    order = dim / 2 - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        bessel = np.log(ive(order, kappa)) + kappa
        return order * np.log(kappa) - dim / 2 * math.log(2 * math.pi) - bessel


def mean_cosine(kappa: np.ndarray, dim: int) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return ive(dim / 2, kappa) / ive(dim / 2 - 1, kappa)


def entropy(kappa: np.ndarray, dim: int) -> np.ndarray:
    return -log_normalizer(kappa, dim) - kappa * mean_cosine(kappa, dim)


def banerjee_kappa(resultant: np.ndarray, dim: int) -> np.ndarray:
    return resultant * (dim - resultant**2) / (1 - resultant**2)


def wood_sample(mu: np.ndarray, kappa: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Wood's rejection as hyperspherical-vae and SciPy write it, then a Householder reflection."""
    dim = len(mu)
    root = math.sqrt(4 * kappa**2 + (dim - 1) ** 2)
    b = (-2 * kappa + root) / (dim - 1)
    x0 = (1 - b) / (1 + b)
    c = kappa * x0 + (dim - 1) * math.log(1 - x0**2)
    cosine = np.empty(n)
    pending = np.arange(n)
    while len(pending):
        z = rng.beta((dim - 1) / 2, (dim - 1) / 2, len(pending))
        w = (1 - (1 + b) * z) / (1 - (1 - b) * z)
        accepted = kappa * w + (dim - 1) * np.log(1 - x0 * w) - c >= np.log(rng.random(len(w)))
        cosine[pending[accepted]] = w[accepted]
        pending = pending[~accepted]
    tangent = rng.standard_normal((n, dim - 1))
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    points = np.concatenate([cosine[:, None], np.sqrt(1 - cosine**2)[:, None] * tangent], 1)
    u = -mu.copy()
    u[0] += 1
    u /= np.linalg.norm(u) + 1e-5
    return points - 2 * (points @ u)[:, None] * u
