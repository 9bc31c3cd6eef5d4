"""The E step of a mixture on the CPU, with compiled code, one block of rows in the cache at a time.

Log densities of a block are [K, B], by `products.product`. Statistics are added up in float64.
Responsibilities that can change a sum only by rounding are left out where that saves time: with
clusters that are told apart nearly all of them, and with them the second product P X.
"""

import math

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.directional.products import product
from vmf_embeddings.threads import each

BLOCK = 2**19  # log densities at a time, and numbers of rows: 2 MiB each in float32
SMALLEST_BLOCK = 64  # rows
LARGEST_KEPT = 0.05  # fraction of responsibilities up to which adding single rows is faster
SEGMENT_ROWS = 4096  # fewest rows for which another segment is worthwhile
MOST_SEGMENTS = 64
ROWS_PER_SUM = 16  # sums of all segments take at most an eighth of the memory of x in float32


def statistics(
    x: Tensor, bias: Tensor, vectors: Tensor, weights: Tensor | None, hard: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """What `mixture_steps.expectation` returns, with log w_k p_k(x) = b_k + v_k.x.

    Rows are divided into segments that do not depend on the number of threads.

    Args:
        x: unit vectors [N, D] on the CPU.
        bias: b_k [K].
        vectors: v_k [K, D].
        weights: of the rows [N]; None = 1.
        hard: each row counts for its most probable component alone.

    Returns:
        Sums S_k [K, D] and totals n_k [K] in float64, and log densities [N].
    """
    log_density = x.new_empty(len(x))
    n_segments = min(MOST_SEGMENTS, len(x) // max(SEGMENT_ROWS, ROWS_PER_SUM * len(bias)))
    block_rows = max(BLOCK // max(vectors.shape), SMALLEST_BLOCK)

    def of_segment(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        segment = _Segment(bias, vectors, hard)
        for block in _divided(rows, -(-(rows.stop - rows.start) // block_rows)):
            own = x.new_empty(0) if weights is None else weights[block]
            segment.add(x[block].contiguous(), own, log_density[block].numpy())
        return segment.sums, segment.totals

    found = each(of_segment, _divided(slice(0, len(x)), max(1, n_segments)))
    sums, totals = (torch.from_numpy(sum(parts)) for parts in zip(*found, strict=True))
    return sums, totals, log_density


def _divided(rows: slice, n_parts: int) -> list[slice]:
    """Parts of about the same number of rows."""
    n = rows.stop - rows.start
    edges = [rows.start + n * i // n_parts for i in range(n_parts + 1)]
    return list(map(slice, edges[:-1], edges[1:]))


class _Segment:
    """Statistics of rows that are added in blocks.

    Attributes:
        sums: S_k [K, D] in float64.
        totals: n_k [K] in float64.
    """

    def __init__(self, bias: Tensor, vectors: Tensor, hard: bool) -> None:
        self._bias, self._vectors = bias.numpy(), vectors
        self._add = self._add_hard if hard else self._add_soft
        # with less below the largest of K, the rest cannot change a sum but by rounding
        self._cut = math.log(torch.finfo(vectors.dtype).eps / len(bias))
        self.sums = np.zeros(vectors.shape)
        self.totals = np.zeros(len(vectors))

    def add(self, x: Tensor, weights: Tensor, log_density: np.ndarray) -> None:
        """Adds rows [B, D] with weights [B], or [0] = 1; overwrites `log_density` [B]."""
        self._add(product(self._vectors, x), x, weights.numpy(), log_density)

    def _add_hard(
        self, joint: Tensor, x: Tensor, weights: np.ndarray, log_density: np.ndarray
    ) -> None:
        from vmf_embeddings.directional.kernels import mixture as kernel

        component = np.empty(len(x), np.int32)
        kernel.assign(joint.numpy(), self._bias, log_density, component)
        kernel.add_assigned(component, x.numpy(), weights, self.sums, self.totals)

    def _add_soft(
        self, joint: Tensor, x: Tensor, weights: np.ndarray, log_density: np.ndarray
    ) -> None:
        from vmf_embeddings.directional.kernels import mixture as kernel

        array = joint.numpy()
        largest, least = np.empty((2, len(x)), array.dtype)
        n_kept = kernel.add_bias(array, self._bias, self._cut, largest, least)
        if n_kept < LARGEST_KEPT * joint.numel():
            results = self.sums, self.totals, log_density
            kernel.add_kept(array, largest, least, n_kept, x.numpy(), weights, *results)
            return
        total = np.empty_like(largest)
        if x.dtype == torch.float32:
            kernel.exponentiate(array, largest, total)
        else:
            joint.sub_(torch.from_numpy(largest)).exp_()
            total[:] = array.sum(0)
        log_density[:] = largest + np.log(total)
        scale = (weights if weights.size else 1) / total
        kernel.scale_by_rows(array, scale, self.totals)
        self.sums += product(joint, x.T).numpy()
