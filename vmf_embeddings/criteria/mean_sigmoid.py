"""Logarithm of the mean of sigmoids over draws, with its gradient formed while it is in the cache.

For draws l_s, x_s = log sigmoid(l_s) and v = log 1/S sum_s exp x_s:

    dv/dl_s = exp(x_s - v) / S (1 - exp x_s)
"""

import math

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn.functional import logsigmoid

from vmf_embeddings.once_differentiable import once_differentiable
from vmf_embeddings.tiles import tiles

CPU_TILE = 2**15  # entries per tile and thread, whose temporaries fit the cache


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
        for columns in tiles(*table.T.shape, table.device, CPU_TILE):
            value[columns], slope[:, columns] = _value_and_slope(table[:, columns])
        ctx.save_for_backward(slope.view_as(logits))
        return value.view(logits.shape[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        return slope * grad


def log_match(cosines: Tensor, scale: Tensor, offset: Tensor, same: Tensor) -> Tensor:
    """Log probability that a pair matches, or where `same` is false that it does not.

    The probability of a match is the mean over draws of sigmoid(scale cosine + offset); that of the
    contrary is the mean of sigmoid(-scale cosine - offset).

    Args:
        cosines: of the draws [S, A, B].
        scale: scalar.
        offset: scalar.
        same: bool [A, B].

    Returns:
        [A, B], <= 0; differentiable once with respect to all but `same`.

    Example:
        >>> one, same = torch.tensor(1.0), torch.tensor([[True, False]])
        >>> log_match(torch.tensor([[[0.0, 100.0]]]), one, 0 * one, same)
        tensor([[  -0.6931, -100.0000]])
    """
    return _LogMatch.apply(cosines, scale, offset, same)


class _LogMatch(torch.autograd.Function):
    """Of the gradients with respect to scale and offset, the sums over draws are kept."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, cosines: Tensor, scale: Tensor, offset: Tensor, same: Tensor
    ) -> Tensor:
        table, signs = cosines.flatten(1), same.flatten().to(cosines.dtype).mul_(2).sub_(1)
        results, slope = table.new_empty(3, table.shape[1]), torch.empty_like(table)
        factors, offsets = signs * scale, signs * offset
        for columns in tiles(*table.T.shape, table.device, CPU_TILE):
            tile, factor = table[:, columns], factors[columns]
            logits = torch.addcmul(offsets[columns], tile, factor)
            results[0, columns], of_logits = _value_and_slope(logits)
            results[1, columns] = (of_logits * tile).sum(0)
            results[2, columns] = of_logits.sum(0)
            torch.mul(of_logits, factor, out=slope[:, columns])
        value, *sums = results.unbind()
        ctx.save_for_backward(slope.view_as(cosines), *(signs * t for t in sums))
        return value.view_as(same)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        slope, *sums = ctx.saved_tensors
        return slope * grad, *(torch.dot(t, grad.flatten()) for t in sums), None


def _value_and_slope(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The logarithm of the mean over draws [N], and its derivatives [S, N], from [S, N]."""
    x = logsigmoid(logits)
    sums = x.logsumexp(0)
    fractions = (x - sums).exp_()
    return sums - math.log(len(logits)), fractions.mul_(x.expm1_().neg_())
