"""The log partition of a block of images by machine code: what `partition_kernel` is fed with."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.polynomial import Polynomial
from torch import Tensor

from vmf_embeddings import native
from vmf_embeddings.directional.bessel import Expansion
from vmf_embeddings.directional.difference import Kernel
from vmf_embeddings.directional.kernels import distributions as laws_kernel
from vmf_embeddings.directional.kernels import partition as partition_kernel
from vmf_embeddings.directional.kernels.polynomials import fitted, horner

VALUE_DEGREE, SLOPE_DEGREE = 9, 7  # errors below 3e-8 and, relative to A / kappa, 1e-6
LANES = 16  # classes are filled up to a multiple of this where the rest would cost much


@lru_cache(maxsize=64)
def _polynomials(plan: Expansion) -> tuple[np.ndarray, np.ndarray]:
    """U(p) and 1/2 + p V'(p) as polynomials in 2 p - 1, highest power first."""
    value, slope = Polynomial([0.0, *plan.value]), Polynomial([0.5, *plan.slope])

    def smooth(t: np.ndarray) -> np.ndarray:
        p = (1 + t) / 2
        return value(p) + np.log1p(p) / 2

    values = horner(fitted(smooth, VALUE_DEGREE, -1, 1), VALUE_DEGREE)
    slopes = horner(fitted(lambda t: slope((1 + t) / 2), SLOPE_DEGREE, -1, 1), SLOPE_DEGREE)
    return np.array(values), np.array(slopes)


class CompiledPartition:
    """See `partition_tile.Partition`; float32 on the CPU."""

    def __init__(
        self, weights: Tensor, beta: Tensor, kernel: Kernel, paired: bool, share: float
    ) -> None:
        self.paired, self.share = paired, share
        few = len(weights) < 64 * LANES
        self.columns = -(-len(weights) // LANES) * LANES if few else len(weights)
        laws, own = np.empty((5, self.columns), np.float32), np.empty(self.columns, np.float32)
        rows, plan = weights.detach().contiguous().numpy(), kernel.plan
        if plan is None:
            values = slopes = np.empty(0, np.float32)
            laws_kernel.three_laws(rows, laws, own)
        else:
            values, slopes = _polynomials(plan)
            laws_kernel.debye_laws(rows, plan.order, values, slopes, laws, own)
        law = (plan is None, np.float32(plan.order if plan else 0), values, slopes, laws, own)
        self.laws = (np.float32(share), np.float32(beta.item()), *law)
        self.value = torch.zeros((), dtype=torch.float64)
        self.grad_beta = torch.zeros((), dtype=torch.float64)
        self.through = torch.zeros(self.columns)

    def block(
        self, table: Tensor, angle: Tensor, lean: Tensor, logs: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Partition.block`."""
        known = logs is not None
        logs = logs if known else torch.empty(0, 0, 0, dtype=torch.float64)
        grad_angle, turn = angle.clone(), torch.empty_like(table[0])
        parts = angle.new_empty(len(table), len(turn))
        tensors = (table, grad_angle, lean.contiguous(), logs, turn, parts)
        fixed = (*(t.numpy() for t in tensors), self.paired, known, *self.laws)
        self._add(len(turn), lambda i, j: partition_kernel.add_images(*fixed, i, j))
        return turn, parts, grad_angle

    def logs(self, table: Tensor, angle: Tensor) -> Tensor:
        """See `Partition.logs`."""
        logs = torch.empty(1 + self.paired, *angle.shape, dtype=torch.float64)
        fixed = (table.numpy(), angle.contiguous().numpy(), logs.numpy(), *self.laws)
        native.in_threads(
            lambda i, j: partition_kernel.log_partitions(*fixed, i, j), table.shape[1]
        )
        return logs

    def draws(self, table: Tensor) -> None:
        """See `Partition.draws`."""
        fixed = (table.numpy(), *self.laws)
        self._add(len(table), lambda i, j: partition_kernel.add_draws(*fixed, i, j))

    def _add(self, n_rows: int, work: Callable[[int, int], Any]) -> None:
        for value, grad_beta, through in native.in_threads(work, n_rows):
            self.value += self.share * value
            self.grad_beta += grad_beta
            self.through += torch.from_numpy(through).div_(2)
