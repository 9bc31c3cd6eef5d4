"""Blockwise evaluation of log-normaliser differences over large broadcast tensors.

The vMF loss needs log C(kappa_1) - log C(kappa_2) for every triple (instance, sample, class).
Working in blocks that stay in the cache makes some twenty elementwise passes cost little more than
one pass over memory, and the derivative, -A(kappa)/(2 kappa) with respect to kappa^2, needs neither
logarithms nor stored intermediates.
"""

import math
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from vmf_embeddings.directional.bessel import Expansion, widen

CPU_BLOCK = 2**15  # elements a thread; four float32 temporaries of this size fit a 1 MiB cache
DEVICE_BLOCK = 2**24


class Kernel(Protocol):
    """One normaliser: all methods are elementwise in plain, differentiable tensor operations.

    Attributes:
        plan: the expansion it evaluates; None for the closed form in three dimensions.
    """

    plan: Expansion | None

    def compute_dtype(self, given: Tensor) -> torch.dtype:
        """The precision that `difference` and `slope` need to answer in `given.dtype`."""

    def start(self, kappa_squared: Tensor) -> tuple[Tensor, ...]:
        """What `difference` needs of the first concentration alone, in float64."""

    def difference(self, start: tuple[Tensor, ...], delta: Tensor) -> Tensor:
        """The difference log C(sqrt(q)) - log C(sqrt(q + delta)), `start` being made from q."""

    def slope(self, kappa_squared: Tensor) -> Tensor:
        """The derivative -d log C / d kappa^2 = A(kappa) / (2 kappa)."""

    def difference_and_slope(
        self, start: tuple[Tensor, ...], delta: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`difference`, and `slope` at q + delta, for less than the two apart."""


def _blocks(table: Tensor) -> Iterator[tuple[slice, slice]]:
    """Row and column slices that cut a table [rows, columns] into blocks."""
    rows, columns = table.shape
    block = CPU_BLOCK * torch.get_num_threads() if table.device.type == "cpu" else DEVICE_BLOCK
    width = max(1, min(columns, block))
    height = max(1, block // width)
    for left in range(0, columns, width):
        for top in range(0, rows, height):
            yield slice(top, top + height), slice(left, left + width)


def _as_table(kappa_squared: Tensor, delta: Tensor) -> tuple[Tensor, Tensor, torch.Size]:
    """The row kappa^2 [columns] and the table delta [rows, columns], and the broadcast shape.

    Where kappa^2 varies over more than the last axis, all is one long row.
    """
    shape = torch.broadcast_shapes(kappa_squared.shape, delta.shape)
    delta = delta.expand(shape)
    columns = shape[-1] if shape else 1
    if kappa_squared.numel() == (kappa_squared.shape[-1] if kappa_squared.dim() else 1):
        return (
            kappa_squared.reshape(-1).expand(columns),
            delta.reshape(math.prod(shape[:-1]), columns),
            shape,
        )
    return kappa_squared.expand(shape).reshape(-1), delta.reshape(1, -1), shape


def _backward_tables(
    kernel: Kernel, row: Tensor, delta: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The product grad * slope [rows, columns], its column sums and those of grad; unrecorded."""
    compute = kernel.compute_dtype(delta)
    through = torch.empty(delta.shape, dtype=grad.dtype, device=grad.device)
    sums = torch.zeros(2, delta.shape[1], dtype=grad.dtype, device=grad.device)
    row = row.to(compute)
    for rows, columns in _blocks(delta):
        outer = grad[rows, columns]
        block = kernel.slope(row[columns] + delta[rows, columns]).to(grad.dtype)
        torch.mul(block, outer, out=through[rows, columns])
        sums[0, columns] += through[rows, columns].sum(0)
        sums[1, columns] += outer.sum(0)
    return through, sums[0], sums[1]


class _Difference(torch.autograd.Function):
    """The difference as a function of kappa^2 and delta; its backward is differentiable again."""

    @staticmethod
    def forward(ctx: FunctionCtx, kappa_squared: Tensor, delta: Tensor, kernel: Kernel) -> Tensor:
        ctx.save_for_backward(kappa_squared, delta)
        ctx.kernel = kernel
        row, table, shape = _as_table(kappa_squared, delta)
        compute = kernel.compute_dtype(delta)
        starts = tuple(start.to(compute) for start in kernel.start(widen(row)))
        out = torch.empty(table.shape, dtype=delta.dtype, device=delta.device)
        for rows, columns in _blocks(table):
            local = tuple(start[columns] for start in starts)
            out[rows, columns] = kernel.difference(local, table[rows, columns].to(compute))
        return out.reshape(shape)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        kappa_squared, delta = ctx.saved_tensors
        kernel: Kernel = ctx.kernel
        if torch.is_grad_enabled():  # a graph of the gradient is wanted: plain recorded operations
            through = grad * kernel.slope(widen(kappa_squared + delta)).to(grad.dtype)
            first, total = through, grad
        else:
            row, table, shape = _as_table(kappa_squared, delta)
            through, first, total = _backward_tables(kernel, row, table, grad.reshape(table.shape))
            through = through.reshape(shape)
            first, total = (_fold(sums, shape, table.shape) for sums in (first, total))
        own = kernel.slope(widen(kappa_squared)).to(grad.dtype)
        size = kappa_squared.shape
        grad_first = first.sum_to_size(size) - own * total.sum_to_size(size)
        return grad_first, through.sum_to_size(delta.shape), None


def _fold(sums: Tensor, shape: torch.Size, table: torch.Size) -> Tensor:
    """Column sums [columns] in a shape that `sum_to_size` can bring to that of kappa^2."""
    return sums.reshape(shape) if table[0] == 1 else sums.reshape((1,) * (len(shape) - 1) + (-1,))


def blockwise_difference(kappa_squared: Tensor, delta: Tensor, kernel: Kernel) -> Tensor:
    """Difference log C(k_1) - log C(k_2), k_2^2 = k_1^2 + delta, for a given `kernel`.

    Args:
        kappa_squared: >= 0; fastest where it varies along the last axis only ([C] against [B, S,
            C]).
        delta: >= -kappa_squared, same dtype.
        kernel: the normaliser.

    Returns:
        Broadcast shape, the common dtype.

    Raises:
        TypeError: the two dtypes differ.
    """
    if kappa_squared.dtype != delta.dtype:
        raise TypeError(
            f"kappa_squared is {kappa_squared.dtype} but delta is {delta.dtype}: cast one of them"
        )
    return _Difference.apply(kappa_squared, delta, kernel)
