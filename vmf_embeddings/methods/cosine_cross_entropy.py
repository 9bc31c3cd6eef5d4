"""Cross-entropy of scaled cosines without normalised class weights: what cosine heads share.

With S = z.w, |z| = 1, the logits are L = beta S / |w|: dividing a [B, C] matrix by lengths is exact
and cheaper than dividing the class weights [C, D], which are then read once for lengths and
products alike. The gradient G = dloss/dL is formed while the logits are in the cache. From it
dloss/dbeta = sum(G L) / beta, and the lengths add - w_j / |w_j|^2 sum_b(G_bj L_bj) to dloss/dw_j.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

EPSILON = 1e-12  # shorter vectors are not brought to length 1, as in torch's `normalize`
CPU_CLASSES = 2**18  # numbers of class weights a block and thread: they stay in the cache
CPU_TILE = 2**17  # logits a tile and thread
DEVICE_BLOCK = 2**26

Shift = Callable[[Tensor], tuple[Tensor, Tensor]]


def cosine_cross_entropy(
    embeddings: Tensor,
    class_weights: Tensor,
    labels: Tensor,
    beta: Tensor,
    shift: Shift | None = None,
) -> Tensor:
    """Mean cross-entropy of the logits beta cos(z, w).

    One matrix [B, C] is kept for the backward pass.

    Args:
        embeddings: [B, D], any length.
        class_weights: [C, D], any length; the cosine with a vector of length 0 is 0.
        labels: target classes [B], 0..C-1.
        beta: inverse temperature, > 0, scalar.
        shift: what stands for the cosine with the target class: cosines [B] in float64 -> values
            and slopes [B].

    Returns:
        Scalar in nats, differentiable once in all but the labels.

    Example:
        >>> z, y = torch.tensor([[3.0, 4.0]]), torch.tensor([1])
        >>> cosine_cross_entropy(z, torch.eye(2), y, torch.tensor(10.0))  # log(1 + exp(6 - 8))
        tensor(0.1269)
    """
    unit = nn.functional.normalize(embeddings, dim=-1)
    return _CosineCrossEntropy.apply(unit, class_weights, labels, beta, shift)


class _CosineCrossEntropy(torch.autograd.Function):
    """Inputs unit embeddings [B, D], class weights [C, D], labels [B], beta []."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        unit: Tensor,
        weights: Tensor,
        labels: Tensor,
        beta: Tensor,
        shift: Shift | None,
    ) -> Tensor:
        through, lengths = _products(unit, weights)
        inverse = lengths.clamp_min(EPSILON).reciprocal()
        scale, labels = beta * inverse, labels[:, None]
        loss, grad_beta = unit.new_zeros(()), torch.zeros_like(beta)
        along = torch.zeros_like(lengths)
        cosine, value, slope = (None, None, None)
        if shift is not None:
            cosine, value, slope = _shifted(unit, weights, labels, shift)
        for rows in _blocks(len(unit), len(weights), CPU_TILE, unit.device):
            logits, own = through[rows].mul_(scale), labels[rows]
            if shift is not None:
                logits.scatter_(1, own, beta * value[rows])
            gradient = logits.log_softmax(-1)
            loss -= gradient.gather(1, own).sum()
            gradient.exp_()
            excess = gradient.gather(1, own) - 1
            gradient.scatter_(1, own, excess)
            logits.mul_(gradient)
            if shift is not None:
                moved = excess * slope[rows]
                gradient.scatter_(1, own, moved)
                logits.scatter_(1, own, beta * moved * cosine[rows])
                grad_beta += (excess * value[rows] - moved * cosine[rows]).sum()
            along += logits.sum(0)
            torch.mul(gradient, scale, out=logits)  # the gradient with respect to S
        grad_beta += along.sum() / beta
        along *= inverse.square() * (lengths >= EPSILON)
        ctx.save_for_backward(unit, weights, through, along, grad_beta)
        return loss / len(unit)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        unit, weights, through, along, grad_beta = ctx.saved_tensors
        grad = grad / len(unit)
        grad_unit, grad_weights = torch.zeros_like(unit), torch.empty_like(weights)
        scaled, along = unit * grad, (along * grad)[:, None]
        for block in _blocks(*weights.shape, CPU_CLASSES, weights.device):
            torch.mm(through[:, block].T, scaled, out=grad_weights[block])
            grad_weights[block].addcmul_(weights[block], along[block], value=-1)
            grad_unit.addmm_(through[:, block], weights[block])
        return grad_unit.mul_(grad), grad_weights, None, grad * grad_beta, None


def _products(unit: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Inner products [B, C], and the lengths of the weights [C]."""
    products, lengths = unit.new_empty(len(unit), len(weights)), torch.empty_like(weights[:, 0])
    for block in _blocks(*weights.shape, CPU_CLASSES, weights.device):
        torch.linalg.vector_norm(weights[block], dim=-1, out=lengths[block])
        torch.mm(unit, weights[block].T, out=products[:, block])
    return products, lengths


def _shifted(
    unit: Tensor, weights: Tensor, labels: Tensor, shift: Shift
) -> tuple[Tensor, Tensor, Tensor]:
    """Cosine with the target class, the value to stand for it, and its slope, [B, 1] each."""
    pair = (unit.double(), weights[labels.squeeze(1)].double())  # shifts may be steep near +-1
    unit, own = (nn.functional.normalize(vectors, dim=-1) for vectors in pair)
    cosine = (unit * own).sum(-1)
    columns = (cosine, *shift(cosine))
    return tuple(column.to(weights.dtype)[:, None] for column in columns)


def _blocks(n: int, width: int, cpu_block: int, device: torch.device) -> list[slice]:
    """Rows of [n, width] by blocks that fit the cache, or the device."""
    block = cpu_block * torch.get_num_threads() if device.type == "cpu" else DEVICE_BLOCK
    height = max(1, block // width)
    return [slice(first, first + height) for first in range(0, n, height)]
