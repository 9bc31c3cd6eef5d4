"""Blockwise evaluation of log-normaliser differences over large broadcast tensors.

The vMF loss needs F(q, delta) = log C(sqrt(q)) - log C(sqrt(q + delta)) for every triple (image,
draw, class). In blocks that stay in the cache some twenty elementwise passes cost little more than
one pass over memory. With h(q) = -d log C / dq = A(kappa) / (2 kappa), q = kappa^2,

    dF/d delta = h(q + delta),    dF/dq = h(q + delta) - h(q),

which need neither logarithms nor stored intermediates. In float32 on a CPU compiled code does the
passes over a row in one (`kernels/difference_compiled.py`).
"""

import math
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from vmf_embeddings import native
from vmf_embeddings.directional.bessel import Expansion, widen

CPU_BLOCK = 2**15  # elements per thread; four float32 temporaries of this size fit a 1 MiB cache
DEVICE_BLOCK = 2**24
PASSES = 16  # over a table, at least: how much work one entry is beside a plain operation


class Kernel(Protocol):
    """A normalising constant C; all methods are elementwise, differentiable tensor operations.

    Attributes:
        plan: the expansion that is evaluated; None for the closed form in three dimensions.
        has_compiled_code: whether `kernels/normalizer.py` has it for float32: no recurrence.
    """

    plan: Expansion | None
    has_compiled_code: bool

    def compute_dtype(self, given: Tensor) -> torch.dtype:
        """The dtype to compute in so that results are accurate in `given.dtype`."""

    def start(self, kappa_squared: Tensor) -> tuple[Tensor, ...]:
        """The part of `difference` that depends on q = kappa_1^2 alone, from float64."""

    def difference(self, start: tuple[Tensor, ...], delta: Tensor) -> Tensor:
        """F(q, delta) = log C(sqrt(q)) - log C(sqrt(q + delta)), where start = self.start(q)."""

    def slope(self, kappa_squared: Tensor) -> Tensor:
        """h(q) = -d log C / d kappa^2 = A(kappa) / (2 kappa) at q = `kappa_squared`."""

    def slope_at_start(self, start: tuple[Tensor, ...]) -> Tensor:
        """h(q), rounded as the second result of `difference_and_slope` is where delta is 0.

        It is subtracted from those, and only the same rounding makes the difference accurate.
        """

    def difference_and_slope(
        self, start: tuple[Tensor, ...], delta: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`difference`, and `slope` at q + delta; cheaper than the two calls."""


def compiles(kernel: Kernel, like: Tensor, n_values: int = native.SMALL_WORK) -> bool:
    """Whether compiled code computes this normaliser for tensors such as `like` (Numba, CPU).

    Args:
        kernel: the normaliser.
        like: of the dtype and on the device of all inputs.
        n_values: how much work it is, see `native.enabled`.
    """
    fits = kernel.has_compiled_code and like.dtype == torch.float32 and like.device.type == "cpu"
    return fits and not torch.compiler.is_compiling() and native.enabled(n_values)


def compiles_tables(kernel: Kernel, like: Tensor, n_values: int = native.SMALL_WORK) -> bool:
    """`compiles`, of this module's differences: where float32 is accurate enough for them."""
    return kernel.compute_dtype(like) == torch.float32 and compiles(kernel, like, n_values)


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

    Where kappa^2 varies along more than the last axis, the table has one long row.
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
) -> tuple[Tensor, Tensor]:
    """Gradients of F with respect to delta [rows, columns] and kappa^2 [columns]."""
    if compiles_tables(kernel, delta, PASSES * delta.numel()):
        from vmf_embeddings.directional.kernels.difference_compiled import difference_gradients

        return difference_gradients(kernel.plan, row, delta, grad)
    compute = kernel.compute_dtype(delta)
    grad_delta = torch.empty(delta.shape, dtype=grad.dtype, device=grad.device)
    sums = torch.zeros(2, delta.shape[1], dtype=grad.dtype, device=grad.device)
    wide, row = row, row.to(compute)
    for rows, columns in _blocks(delta):
        outer = grad[rows, columns]
        block = kernel.slope(row[columns] + delta[rows, columns]).to(grad.dtype)
        torch.mul(block, outer, out=grad_delta[rows, columns])
        sums[0, columns] += grad_delta[rows, columns].sum(0)
        sums[1, columns] += outer.sum(0)
    slope = kernel.slope(widen(wide)).to(grad.dtype)  # h(q)
    return grad_delta, sums[0] - slope * sums[1]


class _Difference(torch.autograd.Function):
    """F(q, delta), see the head of this file; its backward pass is differentiable again."""

    @staticmethod
    def forward(ctx: FunctionCtx, kappa_squared: Tensor, delta: Tensor, kernel: Kernel) -> Tensor:
        ctx.save_for_backward(kappa_squared, delta)
        ctx.kernel = kernel
        row, table, shape = _as_table(kappa_squared, delta)
        if compiles_tables(kernel, delta, PASSES * table.numel()):
            from vmf_embeddings.directional.kernels.difference_compiled import differences

            return differences(kernel.plan, row, table).reshape(shape)
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
        size = kappa_squared.shape
        if torch.is_grad_enabled():  # with create_graph=True: recorded operations, in one piece
            grad_delta = grad * kernel.slope(widen(kappa_squared + delta)).to(grad.dtype)
            slope = kernel.slope(widen(kappa_squared)).to(grad.dtype)  # h(q)
            grad_squared = grad_delta.sum_to_size(size) - slope * grad.sum_to_size(size)
        else:
            row, table, shape = _as_table(kappa_squared, delta)
            outer = grad.reshape(table.shape)
            grad_delta, of_row = _backward_tables(kernel, row, table, outer)
            grad_delta = grad_delta.reshape(shape)
            grad_squared = _fold(of_row, shape, table.shape).sum_to_size(size)
        return grad_squared, grad_delta.sum_to_size(delta.shape), None


def _fold(sums: Tensor, shape: torch.Size, table: torch.Size) -> Tensor:
    """Column sums [columns], reshaped so that `sum_to_size` can reduce them to kappa^2's shape."""
    return sums.reshape(shape) if table[0] == 1 else sums.reshape((1,) * (len(shape) - 1) + (-1,))


def blockwise_difference(kappa_squared: Tensor, delta: Tensor, kernel: Kernel) -> Tensor:
    """Difference log C(k_1) - log C(k_2), k_2^2 = k_1^2 + delta, for a given `kernel`.

    Args:
        kappa_squared: >= 0; fastest where it varies along the last axis only, such as [C] against
            [B, S, C].
        delta: >= -kappa_squared, same dtype.
        kernel: which normalising constant.

    Returns:
        Broadcast shape, the common dtype.

    Raises:
        TypeError: the two dtypes differ.
    """
    if kappa_squared.dtype != delta.dtype:
        raise TypeError(
            f"kappa_squared is {kappa_squared.dtype} but delta is {delta.dtype}: cast one of them, "
            "such as delta.to(kappa_squared.dtype)"
        )
    return _Difference.apply(kappa_squared, delta, kernel)
