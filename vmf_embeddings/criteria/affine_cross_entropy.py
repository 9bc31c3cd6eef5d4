"""Cross-entropy of inner products with a factor and an offset for each class, in one table.

With logits L_bj = a_j t_bj + c_j and G = softmax(L) - one_hot, the forward pass forms

    dloss/dt = G a,    dloss/da_j = sum_b G_bj t_bj,    dloss/dc_j = sum_b G_bj

in place of the inner products t, some rows at a time while they are in the cache.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from vmf_embeddings.once_differentiable import once_differentiable
from vmf_embeddings.tiles import tiles

CPU_TILE = 2**16  # logits per tile and thread, whose temporaries fit the cache


def affine_cross_entropy(
    rows: Tensor, class_vectors: Tensor, factors: Tensor, offsets: Tensor, labels: Tensor
) -> Tensor:
    """Mean cross-entropy of the logits factors * (rows @ class_vectors^T) + offsets.

    Args:
        rows: [B, D].
        class_vectors: [C, D], without gradient.
        factors: a [C].
        offsets: c [C].
        labels: target classes [B], 0..C-1.

    Returns:
        Scalar in nats, differentiable once with respect to rows, factors and offsets.

    Example:
        >>> rows, ones, labels = torch.eye(2), torch.ones(2), torch.tensor([0, 1])
        >>> affine_cross_entropy(rows, torch.eye(2), 2 * ones, ones, labels)  # log(1 + exp(-2))
        tensor(0.1269)
    """
    return _AffineCrossEntropy.apply(rows, class_vectors.detach(), factors, offsets, labels)


class _AffineCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        rows: Tensor,
        class_vectors: Tensor,
        factors: Tensor,
        offsets: Tensor,
        labels: Tensor,
    ) -> Tensor:
        table, labels = rows @ class_vectors.T, labels[:, None]
        loss, grad_factors, grad_offsets = 0.0, 0.0, 0.0
        for tile in tiles(*table.shape, table.device, CPU_TILE):
            products, target = table[tile], labels[tile]
            gradient = torch.addcmul(offsets, products, factors).log_softmax(-1)
            loss -= gradient.gather(1, target).sum()
            gradient.exp_().scatter_add_(1, target, -torch.ones_like(gradient[:, :1]))
            grad_offsets += gradient.sum(0)
            grad_factors += products.mul_(gradient).sum(0)
            torch.mul(gradient, factors, out=products)
        ctx.save_for_backward(table, class_vectors, grad_factors, grad_offsets)
        return loss / len(rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        table, class_vectors, grad_factors, grad_offsets = ctx.saved_tensors
        grad = grad / len(table)
        grad_rows = (table @ class_vectors).mul_(grad)
        return grad_rows, None, grad_factors * grad, grad_offsets * grad, None
