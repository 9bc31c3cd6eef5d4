"""Compiled statistics of the E step of a mixture; imports Numba.

Components whose probability cannot change a sum but by rounding are left out, which are most of
them where components are told apart.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmf_embeddings import native

Floats = NDArray[Any]  # float32 or float64, all of one dtype
FAST = {"contract", "nsz", "reassoc", "nnan"}


@native.compiled(fastmath=FAST)
def add_soft(
    joint: Floats, x: Floats, weights: Floats, cut: float, sums: Floats, totals: Floats,
    log_density: Floats,
) -> int:  # fmt: skip
    """Adds responsibilities softmax(joint), times weights, and their rows.

    Args:
        joint: log w_k p_k(x_n) [B, K].
        x: [B, D].
        weights: [B], or [0] = 1.
        cut: < 0; components this much below the largest in log probability are left out.
        sums: [K, D], added to.
        totals: [K], added to.
        log_density: [B], overwritten.

    Returns:
        How many responsibilities were not left out.
    """
    n_rows, n_components = joint.shape
    dim, n_kept = x.shape[1], 0
    kept = np.empty(n_components, np.int64)
    values = np.empty(n_components, joint.dtype)
    for i in range(n_rows):
        row = joint[i]
        largest = row[0]
        for k in range(n_components):
            largest = max(largest, row[k])
        least, m, total = largest + cut, 0, joint.dtype.type(0)
        for k in range(n_components):
            if row[k] > least:
                kept[m] = k
                m += 1
        for j in range(m):
            values[j] = np.exp(row[kept[j]] - largest)
            total += values[j]
        log_density[i] = largest + np.log(total)
        scale = 1 / total if weights.size == 0 else weights[i] / total
        for j in range(m):
            k, p = kept[j], values[j] * scale
            totals[k] += p
            for d in range(dim):
                sums[k, d] += p * x[i, d]
        n_kept += m
    return n_kept


@native.compiled(fastmath=FAST)
def add_hard(
    joint: Floats, x: Floats, weights: Floats, sums: Floats, totals: Floats, log_density: Floats
) -> None:
    """As `add_soft` with every row assigned to its most probable component, the first of equals."""
    n_rows, n_components = joint.shape
    dim = x.shape[1]
    for i in range(n_rows):
        row = joint[i]
        largest = row[0]
        for k in range(n_components):
            largest = max(largest, row[k])
        best = 0
        while row[best] < largest:
            best += 1
        log_density[i] = largest
        weight = joint.dtype.type(1) if weights.size == 0 else weights[i]
        totals[best] += weight
        for d in range(dim):
            sums[best, d] += weight * x[i, d]
