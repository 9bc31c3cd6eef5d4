"""Directions of vectors, with a backward pass of a few kernel launches.

    u = x / |x|,    du = (dx - (u.dx) u) / |x|,    d|x| = u.dx

`torch.nn.functional.normalize` is the same function; its recorded derivative takes four times as
many launches.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

MIN_LENGTH = 1e-12  # as of `normalize`: shorter vectors are divided by this


def unit_vectors(x: Tensor) -> Tensor:
    """Every vector over its length.

    Args:
        x: [.., D], of any length; a vector of length 0 stays 0.

    Returns:
        [.., D] of length 1, dtype of `x`; differentiable to any order.

    >>> unit_vectors(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    return _Unit.apply(x)[0]


class _Unit(torch.autograd.Function):
    """Unit vectors and lengths: the second is a result so that the backward has a derivative."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min_(MIN_LENGTH)
        unit = x / length
        ctx.save_for_backward(unit, length)
        return unit, length

    @staticmethod
    def backward(
        ctx: FunctionCtx, grad: Tensor | None, grad_length: Tensor | None
    ) -> Tensor | None:
        unit, length = ctx.saved_tensors
        is_short = length <= MIN_LENGTH  # divided by a constant
        to_length = None if grad_length is None else grad_length.masked_fill(is_short, 0)
        if grad is None:
            return None if to_length is None else to_length * unit
        along = (grad * unit).sum(-1, keepdim=True).masked_fill(is_short, 0)
        grad_x = torch.addcmul(grad, along, unit, value=-1) / length
        return grad_x if to_length is None else torch.addcmul(grad_x, to_length, unit)
