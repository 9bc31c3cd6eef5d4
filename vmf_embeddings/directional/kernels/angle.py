"""Compiled angles of von Mises-Fisher draws and their derivatives in kappa; imports Numba.

The algorithms of `sampler` and `gradient`, one angle after another and in float64. Every angle has
its own random stream: splitmix64 (Steele, Lea, Flood 2014, Fast Splittable Pseudorandom Number
Generators, https://doi.org/10.1145/2660193.2660195), whose start depends on (seed, index) alone, so
that threads do not change results.
"""

import math

import numpy as np
from numpy.typing import NDArray

from vmf_embeddings import native

Floats = NDArray[np.float32]


@native.compiled()
def _mixed(word: np.uint64) -> np.uint64:
    """The output function of splitmix64."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@native.compiled()
def _uniform(word: np.uint64) -> float:
    """A uniform number in (0, 1), with 53 bits."""
    return (np.float64(_mixed(word) >> np.uint64(11)) + 0.5) * 2.0**-53


@native.compiled()
def fill_angles(angle: Floats, kappa: Floats, dim: int, seed: int, first: int, end: int) -> None:
    """Fills entries first .. end - 1 of `angle` [N] for kappa [N], by rejection; dim >= 2."""
    step, m = np.uint64(0x9E3779B97F4A7C15), dim - 1
    for i in range(first, end):
        root = math.sqrt(4.0 * kappa[i] * kappa[i] + m * m)
        x0 = 2.0 * kappa[i] / (root + m)
        word = _mixed(np.uint64(seed) + np.uint64(i) * np.uint64(0xD1342543DE82EF95))
        while True:
            x = math.cos(2 * math.pi * _uniform(word + step))
            if dim > 2:  # a coordinate of a uniform point, by the polar method
                rest = math.log(_uniform(word + np.uint64(2) * step)) * 2 / (dim - 2)
                x *= math.sqrt(-math.expm1(rest))
            v = x0 * x
            log_accept = m * (v / (1 + v) - math.log1p(v))
            rejected = log_accept < math.log(_uniform(word + np.uint64(3) * step))
            word += np.uint64(3) * step
            if not rejected:  # also where kappa is NaN: comparisons are false
                break
        squared_tangent = m / (root + 2.0 * kappa[i]) * (1 - x) / (1 + x)  # tan(theta / 2)^2
        angle[i] = 2 * math.atan(math.sqrt(squared_tangent))


@native.compiled()
def fill_angles_three(angle: Floats, kappa: Floats, seed: int, first: int, end: int) -> None:
    """`fill_angles` in three dimensions, by the inverse distribution function."""
    for i in range(first, end):
        k = max(np.float64(kappa[i]), 1e-20)
        word = np.uint64(seed) + np.uint64(i) * np.uint64(0xD1342543DE82EF95)
        versine = -math.log1p(_uniform(_mixed(word)) * math.expm1(-2.0 * k)) / k
        angle[i] = 2 * math.asin(math.sqrt(min(versine / 2, 1.0)))


@native.compiled()
def fill_derivatives_three(out: Floats, angle: Floats, kappa: Floats) -> None:
    """Fills `out` [S, N] with d angle / d kappa in three dimensions; formula in `gradient`."""
    for n in range(len(kappa)):
        k = max(np.float64(kappa[n]), 1e-6)
        denominator = math.expm1(-2.0 * k)
        for s in range(len(angle)):
            half = np.float64(angle[s, n]) / 2
            versine = max(2 * math.sin(half) ** 2, 1e-30)
            numerator = math.exp(k * (versine - 2)) * math.expm1(-k * versine)
            out[s, n] = math.tan(half) * (2 * numerator / (denominator * versine) - 1) / k
