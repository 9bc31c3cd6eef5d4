"""Compiled second term of the von Mises-Fisher loss, with its gradient; imports Numba.

The formulas are those of `bessel.ratio_and_slope` and `directional.alignment`, image by image.
"""

import numpy as np
from numpy.typing import NDArray

from vmf_embeddings import native

Floats = NDArray[np.float32]
Wide = NDArray[np.float64]


@native.compiled()
def _ratio_and_slope(q: float, order: float, steps: Wide, expansion: Wide) -> tuple[float, float]:
    """R(q) = A(kappa) / kappa and dR/dq, q = kappa^2; see `bessel.ratio_and_slope`."""
    s = np.sqrt(q + order * order)
    t, p = 1 / s, order / s
    p_v1, p_v2 = 0.0, 0.0  # p V'(p) and p (p V'(p))'
    for i in range(expansion.shape[1] - 1, -1, -1):
        p_v1 = (p_v1 + expansion[0, i]) * p
        p_v2 = (p_v2 + expansion[1, i]) * p
    correction, upper = 0.5 + p_v1, 1 / (s + order)
    ratio = upper - t * t * correction
    slope = t * (t * t * t * (2 * correction + p_v2) - upper * upper) / 2
    for step in steps:
        inner = ratio + q * slope  # d(q R)/dq
        ratio = 1 / (q * ratio + step)
        slope = -ratio * ratio * inner
    return ratio, slope


@native.compiled(fastmath={"contract", "nsz", "reassoc"})
def subtract_alignment(
    z: Floats, weights: Floats, labels: NDArray[np.int64], weight: float,
    order: float, steps: Wide, expansion: Wide, grad_z: Floats, grad_weights: Floats,
) -> float:  # fmt: skip
    """Sum over images of A(|z|) A(|w|) cos(z, w) = R(z.z) R(w.w) z.w, w = weights[label].

    Subtracts `weight` times its gradient from `grad_z` [B, D] and `grad_weights` [C, D].
    """
    total = 0.0
    for b in range(len(z)):
        w, label = weights[labels[b]], labels[b]
        zz, ww, zw = 0.0, 0.0, 0.0
        for i in range(z.shape[1]):
            x, y = np.float64(z[b, i]), np.float64(w[i])
            zz += x * x
            ww += y * y
            zw += x * y
        ratio_z, slope_z = _ratio_and_slope(zz, order, steps, expansion)
        ratio_w, slope_w = _ratio_and_slope(ww, order, steps, expansion)
        total += ratio_z * ratio_w * zw
        cross = np.float32(weight * ratio_z * ratio_w)
        radial_z = np.float32(2 * weight * zw * slope_z * ratio_w)
        radial_w = np.float32(2 * weight * zw * slope_w * ratio_z)
        for i in range(z.shape[1]):
            grad_z[b, i] -= cross * w[i] + radial_z * z[b, i]
            grad_weights[label, i] -= cross * z[b, i] + radial_w * w[i]
    return total
