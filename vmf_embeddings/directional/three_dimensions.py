"""The Bessel ratio of three dimensions and its derivative, in closed form and as a series.

With q = kappa^2, A(kappa) / kappa = (kappa coth(kappa) - 1) / q = 2 d/dq log(sinh(kappa) / kappa),
Mardia and Jupp 2000, Directional Statistics, eq. 9.3.9.
"""

from fractions import Fraction
from functools import lru_cache
from math import comb, factorial

import torch
from torch import Tensor

from vmf_embeddings.directional.debye import values

SERIES_BELOW = 1.0  # kappa^2 under which the series is used
N_TERMS = 20  # the next one is below 1e-19


def ratio_and_slope_three(kappa_squared: Tensor) -> tuple[Tensor, Tensor]:
    """As `bessel.ratio_and_slope` with the plan of three dimensions; relative error below 1e-13.

    Args:
        kappa_squared: kappa^2, >= 0, any shape, in float64.

    Returns:
        R = A(kappa) / kappa in (0, 1/3] and dR/dq < 0, both of the shape of `kappa_squared`.

    >>> ratio, slope = ratio_and_slope_three(torch.zeros((), dtype=torch.float64))
    >>> round(ratio.item(), 4), round(slope.item(), 4)  # 1/3 and -1/45
    (0.3333, -0.0222)
    """
    (first, *ratio), (second, *slope) = _series()
    series = values(
        (tuple(ratio), tuple(slope)), kappa_squared.clamp_max(SERIES_BELOW), (first, second)
    )
    q = kappa_squared.clamp_min(SERIES_BELOW)
    kappa = q.sqrt()
    over_tanh, over_sinh = kappa / kappa.tanh(), kappa / kappa.sinh()
    # (1 - kappa coth(kappa) / 2 - (kappa / sinh(kappa))^2 / 2) / q^2
    closed_slope = (torch.addcmul(over_tanh, over_sinh, over_sinh) - 2) / (-2 * q.square())
    small = kappa_squared < SERIES_BELOW
    return (
        torch.where(small, series[0], (over_tanh - 1) / q),
        torch.where(small, series[1], closed_slope),
    )


@lru_cache(maxsize=1)
def _series() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Coefficients of 1, q, q^2, … of R and dR/dq, as many of both.

    log(sinh(kappa) / kappa) = sum_n 2^(2n-1) B_2n / (n (2n)!) q^n with Bernoulli's numbers B.
    """
    bernoulli = [Fraction(1)]
    for n in range(1, 2 * N_TERMS + 3):
        total = sum(comb(n + 1, k) * b for k, b in enumerate(bernoulli))
        bernoulli.append(-Fraction(total) / (n + 1))
    logs = [
        Fraction(2 ** (2 * n - 1), n * factorial(2 * n)) * bernoulli[2 * n]
        for n in range(1, N_TERMS + 2)
    ]
    ratio = [2 * n * c for n, c in enumerate(logs, start=1)]
    slope = [n * c for n, c in enumerate(ratio)][1:]
    return tuple(map(float, ratio[:N_TERMS])), tuple(map(float, slope))
