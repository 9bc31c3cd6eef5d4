"""Cross-entropy of log expected likelihoods, computed while their block is in the cache.

With z and w the parameters kappa mu of images and classes, the logits are

    L_bj = beta F_bj + log prior_j,    F_bj = log C(|w_j|) - log C(|z_b + w_j|),

the log expected likelihood less log C(|z_b|), which softmax does not see. The forward pass computes
the gradient, with h(q) = -d log C / dq at q = kappa^2, p = softmax(L) and G = p - one_hot:

    P_bj        = G_bj h(|z_b + w_j|^2)
    dloss/dz    = 2 beta (P w + z sum_j P_bj)
    dloss/dw    = 2 beta (P^T z + w sum_b (P_bj - h(|w_j|^2) G_bj))
    dloss/dbeta = sum_bj G_bj F_bj

One matrix [B, C] is stored for the backward pass: P takes the place of the dot products z.w.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from vmf_embeddings.directional.bessel import widen
from vmf_embeddings.directional.difference import compiles_tables
from vmf_embeddings.directional.log_normalizer import normalizer_kernel
from vmf_embeddings.once_differentiable import once_differentiable
from vmf_embeddings.tiles import tiles

CPU_TILE = 2**15  # logits per tile and thread, whose temporaries fit the cache


def elk_cross_entropy(
    embeddings: Tensor,
    class_weights: Tensor,
    labels: Tensor,
    beta: Tensor,
    log_prior: Tensor | None = None,
    class_kappa: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy of the logits beta log integral p_z p_w + log prior.

    Args:
        embeddings: kappa times mu of the images [B, D], D >= 2.
        class_weights: kappa times mu of the classes [C, D], same dtype; with `class_kappa` mu, of
            norm 1.
        labels: target classes [B], 0..C-1.
        beta: inverse temperature, > 0, scalar.
        log_prior: added to the logits, without gradient [C]; None = nothing.
        class_kappa: concentrations of classes without gradient [C], which saves a product of them
            with mu; None = the norms of the class weights.

    Returns:
        Scalar in nats, differentiable once with respect to embeddings, class weights and beta.

    Example:
        >>> z, y = torch.tensor([[9.0, 0.0]]), torch.tensor([0])
        >>> round(elk_cross_entropy(z, 9 * torch.eye(2), y, torch.tensor(1.0)).item(), 4)
        0.0061
    """
    return _ElkCrossEntropy.apply(embeddings, class_weights, labels, beta, log_prior, class_kappa)


class _ElkCrossEntropy(torch.autograd.Function):
    """Inputs embeddings [B, D], weights [C, D], labels [B], beta [], [C] or None twice."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        embeddings: Tensor,
        weights: Tensor,
        labels: Tensor,
        beta: Tensor,
        log_prior: Tensor | None,
        class_kappa: Tensor | None,
    ) -> Tensor:
        table = embeddings @ weights.T
        if class_kappa is not None:
            table *= class_kappa
        kappa = torch.linalg.vector_norm(weights, dim=-1) if class_kappa is None else class_kappa
        squared, lengths = kappa.square(), torch.linalg.vector_norm(embeddings, dim=-1).square()
        loss, grad_beta, of_images, of_classes = (
            total.to(weights.dtype)
            for total in _sums(table, lengths, squared, labels, beta, log_prior, weights.shape[-1])
        )
        if class_kappa is not None:  # P w = (P kappa) mu
            table *= class_kappa
        ctx.save_for_backward(
            embeddings, weights, table, of_images[:, None], of_classes, beta, grad_beta
        )
        return loss / len(embeddings)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        embeddings, weights, table, of_images, of_classes, beta, grad_beta = ctx.saved_tensors
        grad = grad / len(embeddings)
        factor = 2 * beta * grad  # of the smaller tensors: no pass over the class weights for it
        grad_embeddings = grad_weights = None
        if ctx.needs_input_grad[1]:
            grad_weights = table.T @ (embeddings * factor)
            grad_weights.addcmul_(weights, (of_classes * factor)[:, None])
        if ctx.needs_input_grad[0]:
            grad_embeddings = table @ weights
            grad_embeddings.mul_(factor).addcmul_(embeddings, of_images * factor)
        of_beta = grad * grad_beta if ctx.needs_input_grad[3] else None
        return grad_embeddings, grad_weights, None, of_beta, None, None


def _sums(
    table: Tensor,
    lengths: Tensor,
    squared: Tensor,
    labels: Tensor,
    beta: Tensor,
    log_prior: Tensor | None,
    dim: int,
) -> tuple[Tensor, ...]:
    """Overwrites the dot products `table` by P; returns four sums.

    Returns:
        The loss [], sums of G F [], of P over the classes [B], and over the images of P less
        h(|w|^2) G [C].
    """
    kernel = normalizer_kernel(dim, table.dtype)
    if compiles_tables(kernel, table):
        from vmf_embeddings.directional.kernels.difference_compiled import cross_entropy

        return cross_entropy(kernel.plan, table, lengths, squared, labels, beta, log_prior)
    compute = kernel.compute_dtype(table)
    start = tuple(part.to(compute) for part in kernel.start(widen(squared)))
    least = -squared.to(compute)  # rounding may leave |z + w|^2 below 0 where w is -z
    lengths, factor, labels = lengths.to(compute)[:, None], beta.to(compute), labels[:, None]
    loss, grad_beta, of_classes, sum_g = 0.0, 0.0, 0.0, 0.0
    of_images = torch.empty_like(lengths[:, 0])
    for rows in tiles(*table.shape, table.device, CPU_TILE):
        delta = torch.add(lengths[rows], table[rows].to(compute), alpha=2)
        delta = torch.maximum(delta, least)
        values, slopes = kernel.difference_and_slope(start, delta)
        logits = values * factor
        if log_prior is not None:
            logits += log_prior.to(compute)
        gradient = logits.log_softmax(-1)
        loss -= gradient.gather(1, labels[rows]).sum()
        gradient.exp_()
        gradient.scatter_add_(1, labels[rows], -torch.ones_like(lengths[rows]))
        grad_beta += torch.dot(gradient.flatten(), values.flatten())
        sum_g += gradient.sum(0)
        slopes.mul_(gradient)
        of_classes += slopes.sum(0)
        of_images[rows] = slopes.sum(-1)
        table[rows] = slopes
    return loss, grad_beta, of_images, of_classes - kernel.slope_at_start(start) * sum_g
