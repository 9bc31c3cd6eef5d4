"""Compiled statistics of the E step of a mixture; imports Numba.

Log densities are [K, B]: the inner loops run over rows, for one component at a time, which are
vector instructions. All arrays of a call have one dtype where nothing else is said.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmf_embeddings import native
from vmf_embeddings.directional.kernels.elementary import exp

Floats = NDArray[Any]  # float32 or float64
Wide = NDArray[np.float64]
FAST = {"contract", "nsz", "reassoc", "nnan"}


@native.compiled(fastmath=FAST)
def assign(joint: Floats, bias: Floats, largest: Floats, component: NDArray[np.int32]) -> None:
    """The most probable component of every row, the first of equals.

    Args:
        joint: log w_k p_k(x_n) - b_k [K, B].
        bias: b_k [K].
        largest: max_k log w_k p_k(x_n) [B], overwritten.
        component: [B], overwritten.
    """
    largest[:] = joint[0] + bias[0]
    component[:] = 0
    for k in range(1, len(joint)):
        row, own, number = joint[k], bias[k], np.int32(k)
        for i in range(len(largest)):
            value = row[i] + own
            is_larger = value > largest[i]
            largest[i] = value if is_larger else largest[i]
            component[i] = number if is_larger else component[i]


@native.compiled(fastmath=FAST)
def add_assigned(
    component: NDArray[np.int32], x: Floats, weights: Floats, sums: Wide, totals: Wide
) -> None:
    """Adds every row to its component.

    Args:
        component: [B].
        x: [B, D].
        weights: of the rows [B], or [0] = 1.
        sums: [K, D], added to.
        totals: [K], added to.
    """
    for i in range(len(component)):
        k = component[i]
        weight = x.dtype.type(1) if weights.size == 0 else weights[i]
        totals[k] += weight
        for d in range(x.shape[1]):
            sums[k, d] += weight * x[i, d]


@native.compiled(fastmath=FAST)
def add_bias(joint: Floats, bias: Floats, cut: float, largest: Floats, least: Floats) -> int:
    """Adds b_k to log densities, and finds the largest of every row.

    Args:
        joint: log w_k p_k(x_n) - b_k [K, B]; b_k is added.
        bias: b_k [K].
        cut: < 0.
        largest: max_k log w_k p_k(x_n) [B], overwritten.
        least: `largest` + `cut` [B], overwritten.

    Returns:
        How many log densities are above the least of their row.
    """
    largest[:] = joint[0] + bias[0]
    for k in range(len(joint)):
        row, own = joint[k], bias[k]
        for i in range(len(largest)):
            value = row[i] + own
            row[i] = value
            largest[i] = value if value > largest[i] else largest[i]
    least[:] = largest + largest.dtype.type(cut)
    n_kept = 0
    for k in range(len(joint)):
        row, n_of_component = joint[k], np.int32(0)
        for i in range(len(largest)):
            n_of_component += np.int32(row[i] > least[i])
        n_kept += n_of_component
    return n_kept


@native.compiled(fastmath=FAST)
def add_kept(
    joint: Floats, largest: Floats, least: Floats, n_kept: int, x: Floats, weights: Floats,
    sums: Wide, totals: Wide, log_density: Floats,
) -> None:  # fmt: skip
    """Adds responsibilities softmax_k(joint), times weights, and their rows, without small ones.

    Args:
        joint: log w_k p_k(x_n) [K, B].
        largest: of every row [B].
        least: of every row [B]; log densities that are no larger are left out.
        n_kept: how many are larger.
        x: [B, D].
        weights: of the rows [B], or [0] = 1.
        sums: [K, D], added to.
        totals: [K], added to.
        log_density: log sum_k w_k p_k(x_n) [B], overwritten.
    """
    n_components, n_rows = joint.shape
    rows, values = np.empty(n_kept, np.int32), np.empty(n_kept, joint.dtype)
    ends = np.empty(n_components, np.int64)
    scale = np.zeros(n_rows, joint.dtype)
    m = 0
    for k in range(n_components):
        row = joint[k]
        for i in range(n_rows):
            if row[i] > least[i]:
                rows[m], values[m] = i, np.exp(row[i] - largest[i])
                scale[i] += values[m]
                m += 1
        ends[k] = m
    for i in range(n_rows):
        log_density[i] = largest[i] + np.log(scale[i])
        scale[i] = (joint.dtype.type(1) if weights.size == 0 else weights[i]) / scale[i]
    m = 0
    for k in range(n_components):
        while m < ends[k]:
            i = rows[m]
            p = values[m] * scale[i]
            totals[k] += p
            for d in range(x.shape[1]):
                sums[k, d] += p * x[i, d]
            m += 1


@native.compiled(fastmath=FAST)
def exponentiate(
    joint: NDArray[np.float32], largest: NDArray[np.float32], total: NDArray[np.float32]
) -> None:
    """Overwrites log densities by exp(joint - largest), and adds them up over the components.

    Args:
        joint: [K, B], overwritten.
        largest: [B].
        total: [B], overwritten by the sums.
    """
    total[:] = 0
    for k in range(len(joint)):
        row = joint[k]
        for i in range(len(largest)):
            value = exp(row[i] - largest[i])
            row[i] = value
            total[i] += value


@native.compiled(fastmath=FAST)
def scale_by_rows(values: Floats, scale: Floats, totals: Wide) -> None:
    """Multiplies values [K, B] by the scale of their row [B]; adds their sums over rows to [K]."""
    for k in range(len(values)):
        row, total = values[k], values.dtype.type(0)
        for i in range(len(scale)):
            p = row[i] * scale[i]
            row[i] = p
            total += p
        totals[k] += total
