"""Inner products of the rows of a table with one another, with one product in the backward pass."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


def gram(rows: Tensor) -> Tensor:
    """Inner products of all pairs of rows, rows @ rows^T.

    For G = dloss / d gram, dloss / d rows = (G + G^T) rows: one product, where those of two
    different tables take two.

    Args:
        rows: [.., N, D].

    Returns:
        [.., N, N], differentiable to any order.

    Example:
        >>> gram(torch.tensor([[1.0, 2.0], [0.0, 3.0]]))
        tensor([[5., 6.],
                [6., 9.]])
    """
    return _Gram.apply(rows)


class _Gram(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return rows @ rows.mT

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        (rows,) = ctx.saved_tensors
        return (grad + grad.mT) @ rows
