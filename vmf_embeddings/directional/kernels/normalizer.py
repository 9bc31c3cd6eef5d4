"""Compiled differences of log normalisers and of A(kappa) / kappa, elementwise; imports Numba.

Debye's expansion (DLMF 10.41, https://dlmf.nist.gov/10.41) needs one logarithm here: with
s_i = sqrt(order^2 + kappa_i^2), p_i = order / s_i and x = (s_2 - s_1) / (order + s_1),

    log C(kappa_1) / C(kappa_2) = s_2 - s_1 - (order + 1/2) log(1 + x) + U(p_2) - U(p_1),

                          = w (s_2 - s_1) + (order + 1/2) (x - log(1 + x)) + U(p_2) - U(p_1),

where U(p) = V(p) + log(1 + p) / 2 is smooth on [0, 1]: one polynomial for every dimension, and
w = (s_1 - 1/2) / (order + s_1): nothing cancels in large dimensions. The constants of kappa_1 are
the rows of `terms`, see `distributions`.
"""

import numpy as np
from numpy.typing import NDArray

from vmf_embeddings import native
from vmf_embeddings.directional.kernels.elementary import exp, log, x_minus_log1p
from vmf_embeddings.directional.kernels.polynomials import RATIO, SINHC

Floats = NDArray[np.float32]
Coefficients = tuple[np.float32, ...]
FUSED = {"contract", "nsz"}  # fused multiply-add
FREE = {*FUSED, "reassoc"}  # sums in any order
LEAST = np.float32(1e-12)  # kappa^2 below this counts as this in three dimensions


# fmt: off
@native.compiled(fastmath=FREE, forceinline=True)
def debye(
    delta: np.float32, q1: np.float32, s1: np.float32, inverse_sum: np.float32,
    value_1: np.float32, correction_1: np.float32, weight: np.float32, order: np.float32,
    values: Coefficients, slopes: Coefficients,
) -> tuple[np.float32, np.float32, np.float32]:
    # fmt: on
    """Differences for kappa_2^2 = kappa_1^2 + delta, by Debye's expansion.

    Returns:
        log C(kappa_1) - log C(kappa_2), A(kappa_2) / kappa_2 and that less A(kappa_1) / kappa_1.
    """
    q = q1 + delta
    q = np.float32(0) if q < np.float32(0) else q  # rounding may leave kappa_2^2 below 0
    s2 = np.sqrt(q + order * order)
    upper = s2 + order
    step = delta / (s1 + s2)
    inverse = np.float32(1) / (s2 * upper)
    t = inverse * upper  # 1 / s2
    p = np.float32(2) * order * t - np.float32(1)
    value = values[0] * p + values[1]
    value = value * p + values[2]
    value = value * p + values[3]
    value = value * p + values[4]
    value = value * p + values[5]
    value = value * p + values[6]
    value = value * p + values[7]
    value = value * p + values[8]
    value = value * p + values[9]
    correction = slopes[0] * p + slopes[1]
    correction = correction * p + slopes[2]
    correction = correction * p + slopes[3]
    correction = correction * p + slopes[4]
    correction = correction * p + slopes[5]
    correction = correction * p + slopes[6]
    correction = correction * p + slopes[7]
    correction = correction * p + slopes[8]
    correction = correction * p + slopes[9]
    x, power = step * inverse_sum, order + np.float32(0.5)
    main, correction = inverse * s2, t * t * correction  # A / kappa = 1 / (order + s) - correction
    result = step * weight + power * x_minus_log1p(x) + (value - value_1)
    return result, main - correction, correction_1 - correction - x * main


@native.compiled(fastmath=FUSED, forceinline=True)
def three(
    delta: np.float32, q1: np.float32, kappa_1: np.float32, value_1: np.float32,
    ratio_1: np.float32,
) -> tuple[np.float32, np.float32, np.float32]:  # fmt: skip
    """`debye` in three dimensions: log C = log(kappa / sinh kappa), A = coth - 1/kappa."""
    one, q = np.float32(1), q1 + delta
    q = LEAST if q < LEAST else q
    k = np.sqrt(q)
    e = exp(np.float32(-2) * k)
    near, ratio = SINHC[0], RATIO[0]
    for i in range(1, len(SINHC)):
        near = near * q + SINHC[i]
        ratio = ratio * q + RATIO[i]
    far = log((one - e) / (k + k))
    ratio = ratio if q < one else ((one + e) / (one - e) * k - one) / q
    value = near - k if q < one else far
    return delta / (kappa_1 + k) + (value - value_1), ratio, ratio - ratio_1
