"""Slow references in multiple precision, from mpmath's Bessel functions."""

import mpmath
from mpmath import mpf

DIMS = (2, 3, 4, 5, 8, 10, 16, 64, 128, 512, 2048, 4096)
KAPPAS = (0.0, 1e-6, 1e-3, 0.1, 1.0, 5.0, 30.0, 200.0, 1e3, 1e4, 1e6)

mpmath.mp.dps = 40


def mean_cosine(kappa: float, dim: int) -> mpf:
    if kappa == 0:
        return mpf(0)
    order = mpf(dim) / 2
    return mpmath.besseli(order, mpf(kappa)) / mpmath.besseli(order - 1, mpf(kappa))


def log_normalizer(kappa_squared: mpf, dim: int) -> mpf:
    order = mpf(dim) / 2 - 1
    constant = -mpf(dim) / 2 * mpmath.log(2 * mpmath.pi)
    if kappa_squared == 0:
        return constant + order * mpmath.log(2) + mpmath.loggamma(order + 1)
    kappa = mpmath.sqrt(kappa_squared)
    return constant + order * mpmath.log(kappa) - mpmath.log(mpmath.besseli(order, kappa))
