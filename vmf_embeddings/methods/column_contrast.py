"""Softmax over labelled columns: the likelihood of all columns of the row's own class.

With logits l_ij of row i and column j, s_ij = 1 where the column is of the class of the row and not
the row itself, weights a_j and t_ij = a_j s_ij / sum_j a_j s_ij, the loss of a row and its gradient
are

    log sum_j exp(l_ij - o_ij) - sum_j t_ij l_ij,    p_ij - t_ij,    p = softmax(l - o).

o is 0, or the logarithm of the number of columns of the class; the row itself and columns without a
class are left out. The forward pass forms the gradient while rows are in the cache.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from vmf_embeddings.methods.row_queue import NO_CLASS
from vmf_embeddings.once_differentiable import once_differentiable
from vmf_embeddings.tiles import tiles

CPU_TILE = 2**16  # logits per tile and thread, whose temporaries fit the cache


def column_contrast(
    logits: Tensor,
    labels: Tensor,
    classes: Tensor,
    first: int,
    weights: Tensor | None = None,
    counts: Tensor | None = None,
) -> Tensor:
    """Mean over the rows of the loss above.

    Args:
        logits: [N, M]; overwritten by their gradient.
        labels: classes of the rows [N].
        classes: of the columns [M], or -1 for those to leave out; each row has one of its class
            beside itself.
        first: column of the first row; that of row i is `first` + i.
        weights: a, >= 0 [M]; None = 1.
        counts: columns of the class of each column [M], by which exp(l) is divided, without the row
            itself; None = 1.

    Returns:
        Scalar in nats; differentiable once with respect to the logits.

    Example:
        >>> labels = torch.tensor([0, 0, 1])
        >>> column_contrast(torch.zeros(2, 3), labels[:2], labels, 0)
        tensor(0.6931)
    """
    return _ColumnContrast.apply(logits, labels, classes, first, weights, counts)


class _ColumnContrast(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        logits: Tensor,
        labels: Tensor,
        classes: Tensor,
        first: int,
        weights: Tensor | None,
        counts: Tensor | None,
    ) -> Tensor:
        # in place, unless compiled: nothing else needs the values
        in_place = not torch.compiler.is_compiling()
        gradient = logits.detach() if in_place else torch.empty_like(logits)
        total = logits.new_zeros(())
        offset = torch.zeros_like(logits[0]) if counts is None else counts.log()
        offset = offset.masked_fill(classes == NO_CLASS, torch.inf)
        own_offset = offset if counts is None else (counts - 1).log()
        columns = torch.arange(first, first + len(labels), device=labels.device)[:, None]
        for rows in tiles(*logits.shape, logits.device, CPU_TILE):
            same = (labels[rows, None] == classes).scatter_(1, columns[rows], False)
            targets = same.to(logits.dtype) if weights is None else same * weights
            targets /= targets.sum(1, keepdim=True)
            total -= torch.where(same, logits[rows], 0).mul_(targets).sum()  # l may be -inf
            offsets = offset if counts is None else torch.where(same, own_offset, offset)
            shifted = (logits[rows] - offsets).scatter_(1, columns[rows], -torch.inf)
            sums = shifted.logsumexp(1, keepdim=True)
            total += sums.sum()
            torch.sub(shifted.sub_(sums).exp_(), targets, out=gradient[rows])
        ctx.save_for_backward(gradient)
        return total / len(logits)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * (grad / len(gradient)), None, None, None, None, None
