"""Masked sums of exponentials, masked means and squared distances, shared by the criteria."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from vmf_embeddings.once_differentiable import once_differentiable

FAR_BELOW = -1e30  # replaces -inf: its exp is 0, and gradients stay finite


def log_sum_exp(values: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """Logarithm of the sum of exp over the entries where the mask is true.

    Args:
        values: any shape.
        mask: bool, same shape.
        dim: axis to sum over.

    Returns:
        Shape without that axis; -1e30 with gradient 0 where the mask has no true entry.

    Example:
        >>> log_sum_exp(torch.zeros(2, 3), torch.tensor([[True, True, False], [False] * 3]))[0]
        tensor(0.6931)
    """
    return values.masked_fill(~mask, FAR_BELOW).logsumexp(dim)


def log1p_sum_exp(
    values: Tensor, mask: Tensor, dim: int = -1, scale: float = 1.0, offset: float = 0.0
) -> Tensor:
    """log(1 + sum exp(scale (v - offset))) / |scale| over the entries v where the mask is true.

    Args:
        values: any shape.
        mask: bool, same shape.
        dim: axis to sum over.
        scale: not 0.
        offset: subtracted from the values.

    Returns:
        Shape without that axis, >= 0; 0 where the mask has no true entry. Differentiable once.

    Example:
        >>> log1p_sum_exp(torch.zeros(2, 3), torch.tensor([[True, True, False], [False] * 3]))
        tensor([1.0986, 0.0000])
    """
    return _Log1pSumExp.apply(values, mask, dim, scale, offset)


class _Log1pSumExp(torch.autograd.Function):
    """`log1p_sum_exp`; its derivative is that of a softmax with one more entry, 0."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, values: Tensor, mask: Tensor, dim: int, scale: float, offset: float
    ) -> Tensor:
        changes = offset or scale != 1
        scaled = ((values - offset) * scale if changes else values).masked_fill(~mask, FAR_BELOW)
        total = scaled.logsumexp(dim, keepdim=True)
        total = torch.logaddexp(total, torch.zeros_like(total))
        ctx.save_for_backward(scaled, total)
        ctx.dim, ctx.sign = dim, 1.0 if scale > 0 else -1.0
        return (total if abs(scale) == 1 else total / abs(scale)).squeeze(dim)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        scaled, total = ctx.saved_tensors
        grad = grad.unsqueeze(ctx.dim)
        fractions = (scaled - total).exp_()
        return fractions.mul_(grad if ctx.sign > 0 else -grad), None, None, None, None


def squared_distances(rows: Tensor, columns: Tensor) -> Tensor:
    """Squared Euclidean distances.

    Args:
        rows: [N, D].
        columns: [M, D].

    Returns:
        [N, M], >= 0; the absolute error is about 1e-6 for unit rows in float32.

    Example:
        >>> squared_distances(torch.tensor([[0.0, 3.0]]), torch.tensor([[4.0, 0.0]]))
        tensor([[25.]])
    """
    norms = rows.square().sum(-1)[:, None] + columns.square().sum(-1)
    return (norms - 2 * rows @ columns.T).clamp_min(0)  # rounding can make it negative


def masked(values: Tensor, mask: Tensor | None) -> Tensor:
    """The values, 0 with gradient 0 where the mask, to whose shape they broadcast, is false.

    Example:
        >>> masked(torch.tensor([1.0, 2.0]), torch.tensor([[True, False], [True, True]]))
        tensor([[1., 0.],
                [1., 2.]])
    """
    return values if mask is None else values.masked_fill(~mask, 0)


def mean_of(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of the entries where the mask is true, scalar; 0 with gradient 0 if there are none.

    Args:
        values: of a shape that broadcasts to that of the mask.
        mask: bool; None = all entries count.

    Example:
        >>> mean_of(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([True, True, False]))
        tensor(1.5000)
    """
    if mask is None:
        return values.sum() / max(1, values.numel())
    return masked(values, mask).sum() / mask.sum().clamp_min(1)
