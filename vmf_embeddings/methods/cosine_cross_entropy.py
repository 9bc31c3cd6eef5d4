"""Cross-entropy of scaled cosines, computed without copying normalised class weights.

With unit z and S = z.w, the logits are L = beta S / |w|. Dividing the matrix S [B, C] by the norms
is exact and cheaper than normalising the class weights [C, D]. The forward pass already computes
the gradient, block by block while the logits are in the cache: with G = dloss/dL,

    dloss/dS = G beta / |w|
    dloss/dbeta = sum_bj G_bj L_bj / beta
    dloss/dw_j = sum_b dloss/dS_bj z_b - w_j / |w_j|^2 sum_b G_bj L_bj

A `shift` v(t) replaces the cosine t of the target class: L_by = beta v(t_b), and G_by is multiplied
by the slope v'(t_b).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from vmf_embeddings.directional.unit import unit_vectors
from vmf_embeddings.once_differentiable import once_differentiable

EPSILON = 1e-12  # vectors of smaller norm are not normalised, as in torch's `normalize`
CPU_CLASSES = 2**18  # entries of the class weights per block and thread, which fit the cache
CPU_TILE = 2**17  # logits per block and thread
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

    One matrix [B, C] is stored for the backward pass.

    Args:
        embeddings: [B, D], any norm.
        class_weights: [C, D], any norm; the cosine with a vector of norm 0 is 0.
        labels: target classes [B], 0..C-1.
        beta: inverse temperature, > 0, scalar.
        shift: replaces the cosine with the target class, such as `add_angular_margin`: cosines [B]
            in float64 -> values v and slopes dv/dt [B].

    Returns:
        Scalar in nats, differentiable once with respect to all but the labels.

    Example:
        >>> z, y = torch.tensor([[3.0, 4.0]]), torch.tensor([1])
        >>> cosine_cross_entropy(z, torch.eye(2), y, torch.tensor(10.0))  # log(1 + exp(6 - 8))
        tensor(0.1269)
    """
    unit = unit_vectors(embeddings)
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
        products, norms = _products(unit, weights)  # products becomes dloss/dS below
        inverse = norms.clamp_min(EPSILON).reciprocal()
        scale, labels = beta * inverse, labels[:, None]
        loss = grad_beta = 0.0
        grad_dot_logits = 0.0  # sum_b G_bj L_bj, [C]
        cosine, value, slope = (None, None, None)
        if shift is not None:
            cosine, value, slope = _shifted(unit, weights, labels, shift)
        for rows in _blocks(len(unit), len(weights), CPU_TILE, unit.device):
            logits, target = products[rows].mul_(scale), labels[rows]
            if shift is not None:
                logits.scatter_(1, target, beta * value[rows])
            gradient = logits.log_softmax(-1)
            loss -= gradient.gather(1, target).sum()
            gradient.exp_()
            grad_target = gradient.gather(1, target) - 1  # softmax - one_hot
            gradient.scatter_(1, target, grad_target)
            logits.mul_(gradient)
            if shift is not None:
                grad_cosine = grad_target * slope[rows]
                gradient.scatter_(1, target, grad_cosine)
                logits.scatter_(1, target, beta * grad_cosine * cosine[rows])
                # the sum over grad_dot_logits / beta counts the cosine, not the value
                grad_beta += (grad_target * value[rows] - grad_cosine * cosine[rows]).sum()
            grad_dot_logits += logits.sum(0)
            torch.mul(gradient, scale, out=logits)  # dloss/dS, in place of the products
        grad_beta += grad_dot_logits.sum() / beta
        norm_coeff = grad_dot_logits * inverse.square() * (norms >= EPSILON)
        ctx.save_for_backward(unit, weights, products, norm_coeff, grad_beta)
        return loss / len(unit)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        unit, weights, grad_products, norm_coeff, grad_beta = ctx.saved_tensors
        grad = grad / len(unit)
        grad_unit, grad_weights = None, torch.empty_like(weights)
        scaled, norm_coeff = unit * grad, (norm_coeff * grad)[:, None]
        for block in _blocks(*weights.shape, CPU_CLASSES, weights.device):
            torch.mm(grad_products[:, block].T, scaled, out=grad_weights[block])
            grad_weights[block].addcmul_(weights[block], norm_coeff[block], value=-1)
            pair = grad_products[:, block], weights[block]
            grad_unit = torch.mm(*pair) if grad_unit is None else grad_unit.addmm_(*pair)
        return grad_unit.mul_(grad), grad_weights, None, grad * grad_beta, None


def _products(unit: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Inner products [B, C], and norms of the class weights [C]."""
    products, norms = unit.new_empty(len(unit), len(weights)), torch.empty_like(weights[:, 0])
    for block in _blocks(*weights.shape, CPU_CLASSES, weights.device):
        torch.linalg.vector_norm(weights[block], dim=-1, out=norms[block])
        torch.mm(unit, weights[block].T, out=products[:, block])
    return products, norms


def _shifted(
    unit: Tensor, weights: Tensor, labels: Tensor, shift: Shift
) -> tuple[Tensor, Tensor, Tensor]:
    """Cosine with the target class, its replacement v, and the slope of v, [B, 1] each."""
    pair = (unit.double(), weights[labels.squeeze(1)].double())  # the slope can be large near +-1
    unit, own = (unit_vectors(vectors) for vectors in pair)
    cosine = (unit * own).sum(-1)
    columns = (cosine, *shift(cosine))
    return tuple(column.to(weights.dtype)[:, None] for column in columns)


def _blocks(n: int, width: int, cpu_block: int, device: torch.device) -> list[slice]:
    """Slices of the n rows of [n, width], in blocks that fit the cache or device memory."""
    if torch.compiler.is_compiling():  # a compiled graph divides its work itself
        return [slice(None)]
    block = cpu_block * torch.get_num_threads() if device.type == "cpu" else DEVICE_BLOCK
    height = max(1, block // width)
    return [slice(first, first + height) for first in range(0, n, height)]
