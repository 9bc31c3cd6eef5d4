"""Machine code for the second term of the von Mises-Fisher loss; imports Numba.

The formulas are those of `bessel.ratio_and_change` and `bound`, one image after another.
"""

import numpy as np
from numpy.typing import NDArray

from vmf_embeddings import native

Floats = NDArray[np.float32]
Wide = NDArray[np.float64]


@native.compiled()
def _ratio_and_change(q: float, order: float, steps: Wide, expansion: Wide) -> tuple[float, float]:
    """A(kappa) / kappa and its derivative with respect to q = kappa^2."""
    s = np.sqrt(q + order * order)
    t, p = 1 / s, order / s
    slope, curvature = 0.0, 0.0
    for i in range(expansion.shape[1] - 1, -1, -1):
        slope = (slope + expansion[0, i]) * p
        curvature = (curvature + expansion[1, i]) * p
    correction, upper = 0.5 + slope, 1 / (s + order)
    ratio = upper - t * t * correction
    change = t * (t * t * t * (2 * correction + curvature) - upper * upper) / 2
    for step in steps:
        inner = ratio + q * change
        ratio = 1 / (q * ratio + step)
        change = -ratio * ratio * inner
    return ratio, change


@native.compiled(fastmath={"contract", "nsz", "reassoc"})
def subtract_aligned(
    z: Floats, weights: Floats, labels: NDArray[np.int64], share: float,
    order: float, steps: Wide, expansion: Wide, grad_z: Floats, grad_weights: Floats,
) -> float:  # fmt: skip
    """Sum over images of A(|z|) A(|w|) cos(z, w), w = weights[label]; see `bound`.

    Its gradient times `share` is taken from `grad_z` [B, D] and `grad_weights` [C, D].
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
        ratio_z, change_z = _ratio_and_change(zz, order, steps, expansion)
        ratio_w, change_w = _ratio_and_change(ww, order, steps, expansion)
        total += ratio_z * ratio_w * zw
        both = np.float32(share * ratio_z * ratio_w)
        to_z = np.float32(2 * share * zw * change_z * ratio_w)
        to_w = np.float32(2 * share * zw * change_w * ratio_z)
        for i in range(z.shape[1]):
            grad_z[b, i] -= both * w[i] + to_z * z[b, i]
            grad_weights[label, i] -= both * z[b, i] + to_w * w[i]
    return total
