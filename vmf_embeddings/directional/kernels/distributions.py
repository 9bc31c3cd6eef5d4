"""Machine code for what the loss's kernel wants to know of every class; imports Numba.

The rows of laws [5, C] stand in `partition_kernel`; a class that only fills up has no weights.
"""

import numpy as np
from numpy.typing import NDArray

from vmf_embeddings import native

Floats = NDArray[np.float32]
NEVER = 1e30  # minus the logit of a class that fills up


@native.compiled(fastmath={"contract", "nsz", "reassoc"})
def _squared_length(row: Floats) -> float:
    total = 0.0
    for x in row:
        total += np.float64(x) * np.float64(x)
    return total


@native.compiled()
def _horner(coefficients: Floats, x: float) -> float:
    value = 0.0
    for coefficient in coefficients:
        value = value * x + np.float64(coefficient)
    return value


@native.compiled()
def debye_laws(
    weights: Floats, order: float, values: Floats, slopes: Floats, laws: Floats, own: Floats
) -> None:
    """Debye's expansion: order^2 + kappa^2, its root s, 1 / (order + s), U, its part of A / kappa.

    Args:
        weights: [C, D].
        order: of the expansion.
        values: of the polynomial U(p), in 2 p - 1.
        slopes: of 1/2 + p V'(p), likewise.
        laws: [5, C or more], filled in.
        own: A / kappa [C or more], filled in.
    """
    for c in range(len(own)):
        base = order * order
        if c < len(weights):
            base += _squared_length(weights[c])
        root = np.sqrt(base)
        t = 2 * order / root - 1
        inverse, correction = 1 / (order + root), _horner(slopes, t) / base
        laws[0, c], laws[1, c], laws[2, c] = base, root, inverse
        laws[3, c] = _horner(values, t) if c < len(weights) else NEVER
        laws[4, c] = correction
        own[c] = inverse - correction


@native.compiled()
def three_laws(weights: Floats, laws: Floats, own: Floats) -> None:
    """Three dimensions: kappa^2, kappa, nothing, log(sinh kappa / kappa) - kappa, A / kappa."""
    for c in range(len(own)):
        q = _squared_length(weights[c]) if c < len(weights) else 0.0
        kappa = np.sqrt(q)
        if q < 0.01:
            log = q * (1 / 6 - q * (1 / 180 - q * (1 / 2835 - q / 37800)))
            ratio = 1 / 3 - q * (1 / 45 - q * (2 / 945 - q * (1 / 4725 - q * (2 / 93555))))
        else:
            log = kappa + np.log(-np.expm1(-2 * kappa) / (2 * kappa))
            ratio = (kappa / np.tanh(kappa) - 1) / q
        laws[0, c], laws[1, c], laws[2, c] = q, kappa, 0
        laws[3, c] = log - kappa if c < len(weights) else NEVER
        laws[4, c] = own[c] = ratio
