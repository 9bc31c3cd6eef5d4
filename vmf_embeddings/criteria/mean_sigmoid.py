"""Logarithm of the mean of sigmoids over draws, with its gradient formed while it is in the cache.

For draws l_s, x_s = log sigmoid(l_s) and v = log 1/S sum_s exp x_s:

    dv/dl_s = exp(x_s - v) / S (1 - exp x_s)
"""

import math

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.functional import logsigmoid

CPU_TILE = 2**15  # entries per tile and thread, whose temporaries fit the cache
DEVICE_TILE = 2**24


def log_mean_sigmoid(logits: Tensor) -> Tensor:
    """Logarithm of the mean of sigmoid(l) over the first axis.

    Args:
        logits: l [S, ..], S >= 1.

    Returns:
        [..], <= 0, finite for finite l of any size; differentiable once.

    Example:
        >>> log_mean_sigmoid(torch.tensor([0.0, -100.0]))
        tensor(-1.3863)
    """
    return _LogMeanSigmoid.apply(logits)


class _LogMeanSigmoid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor) -> Tensor:
        table = logits.flatten(1) if logits.dim() > 1 else logits[:, None]
        value, slope = torch.empty_like(table[0]), torch.empty_like(table)
        for columns in _tiles(table):
            x = logsigmoid(table[:, columns])
            sums = x.logsumexp(0)
            value[columns] = sums - math.log(len(table))
            fractions = (x - sums).exp_()
            torch.mul(fractions, x.expm1_().neg_(), out=slope[:, columns])
        ctx.save_for_backward(slope.view_as(logits))
        return value.view(logits.shape[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        return slope * grad


def _tiles(table: Tensor) -> list[slice]:
    """Slices of the columns of a table [S, N]."""
    if torch.compiler.is_compiling():  # a compiled graph divides its work itself
        return [slice(None)]
    on_cpu = table.device.type == "cpu"
    tile = CPU_TILE * torch.get_num_threads() if on_cpu else DEVICE_TILE
    width = max(1, tile // len(table))
    return [slice(left, left + width) for left in range(0, table.shape[1], width)]
