"""Compiled per-class constants of normalisers, computed once per batch; imports Numba.

Each function fills `terms` [6, columns] and `class_ratio` [columns] for `kernels/normalizer.py`.
Columns beyond the C classes are padding: weights of zero and a logit of about -1e30.
"""

import numpy as np
from numpy.typing import NDArray

from vmf_embeddings import native

Floats = NDArray[np.float32]
Wide = NDArray[np.float64]
Coefficients = tuple[np.float32, ...]
PADDING = 1e30  # subtracted from the logit of a padding column: its probability is 0


@native.compiled(fastmath={"contract", "nsz", "reassoc"})
def squared_lengths(rows: Floats) -> Wide:
    """Squared lengths [C] of rows [C, D]."""
    out = np.zeros(len(rows), np.float64)
    for c in range(len(rows)):
        total = 0.0
        for x in rows[c]:
            total += np.float64(x) * np.float64(x)
        out[c] = total
    return out


@native.compiled()
def _horner(coefficients: Coefficients, x: float) -> float:
    value = 0.0
    for coefficient in coefficients:
        value = value * x + np.float64(coefficient)
    return value


@native.compiled()
def debye_terms(
    squared: Wide, order: float, values: Coefficients, slopes: Coefficients, terms: Floats,
    class_ratio: Floats,
) -> None:  # fmt: skip
    """Fills the constants of Debye's expansion; with s = sqrt(order^2 + kappa^2) and p = order / s.

    Args:
        squared: kappa^2 [C].
        order: of the expansion.
        values: coefficients of the polynomial U(p) in 2 p - 1, highest power first.
        slopes: those of 1/2 + p V'(p).
        terms: rows kappa^2, s, 1 / (order + s), U(p), (1/2 + p V'(p)) / s^2 and
            (s - 1/2) / (order + s).
        class_ratio: A(kappa) / kappa.
    """
    for c in range(len(class_ratio)):
        q = squared[c] if c < len(squared) else 0.0
        base = q + order * order
        root = np.sqrt(base)
        t = 2 * order / root - 1
        inverse, correction = 1 / (order + root), _horner(slopes, t) / base
        terms[0, c], terms[1, c], terms[2, c] = q, root, inverse
        terms[3, c] = _horner(values, t) if c < len(squared) else PADDING
        terms[4, c], terms[5, c] = correction, (root - 0.5) * inverse
        class_ratio[c] = inverse - correction


@native.compiled()
def three_terms(squared: Wide, terms: Floats, class_ratio: Floats) -> None:
    """Fills the constants in three dimensions, from kappa^2 [C].

    Rows of `terms`: kappa^2, kappa, 0 (not used), log(sinh kappa / kappa) - kappa, A / kappa, 0
    (not used). `class_ratio` is A / kappa.
    """
    for c in range(len(class_ratio)):
        q = squared[c] if c < len(squared) else 0.0
        kappa = np.sqrt(q)
        if q < 0.01:
            log = q * (1 / 6 - q * (1 / 180 - q * (1 / 2835 - q / 37800)))
            ratio = 1 / 3 - q * (1 / 45 - q * (2 / 945 - q * (1 / 4725 - q * (2 / 93555))))
        else:
            log = kappa + np.log(-np.expm1(-2 * kappa) / (2 * kappa))
            ratio = (kappa / np.tanh(kappa) - 1) / q
        terms[0, c], terms[1, c], terms[2, c], terms[5, c] = q, kappa, 0, 0
        terms[3, c] = log - kappa if c < len(squared) else PADDING
        terms[4, c] = class_ratio[c] = ratio
