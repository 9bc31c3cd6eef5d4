"""Cross-entropy of log expected likelihoods under non-isotropic classes, by draws, image by image.

With draws x_s of an image, M_c = K_c^2 mu_c and squares k_c^2 of the scales (see
`directional.nivmf`),

    log p_c(x) = peak_c + x.M_c / |K_c x| - D log |K_c x|,    |K_c x|^2 = x^2.k_c^2,
    L_c        = beta F_c,    F_c = log 1/S sum_s p_c(x_s).

The forward pass computes the gradient for some images at a time, so that of the S B C densities one
tile exists. With G = softmax(L) - one_hot, and w_sc = beta G_c exp(log p_c(x_s) - F_c) / S,

    dloss/d x.M_c      = w_sc / |K_c x_s|
    dloss/d |K_c x|^2  = -w_sc (x.M_c / |K_c x| + D) / (2 |K_c x|^2)
    dloss/d peak_c     = sum_s w_sc = beta G_c,    dloss/dbeta = sum_c G_c F_c
"""

import math

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from vmf_embeddings.directional import log_normalizer
from vmf_embeddings.once_differentiable import once_differentiable
from vmf_embeddings.tiles import tiles

CPU_TILE = 2**19  # densities per tile and thread: smaller ones make slow matrix products


def nivmf_cross_entropy(
    draws: Tensor, mu: Tensor, scales: Tensor, labels: Tensor, beta: Tensor
) -> Tensor:
    """Mean cross-entropy of beta log 1/S sum_s p_c(x_s).

    Args:
        draws: unit vectors x of the images [S, B, D].
        mu: unit directions of the classes [C, D].
        scales: k > 0 of the classes [C, D].
        labels: target classes [B], 0..C-1.
        beta: inverse temperature, > 0, scalar.

    Returns:
        Scalar in nats, differentiable once with respect to all but the labels.

    Example:
        >>> x, labels, beta = torch.eye(3)[None, :1], torch.tensor([0]), torch.tensor(1.0)
        >>> nivmf_cross_entropy(x, torch.eye(3)[:2], torch.full((2, 3), 5.0), labels, beta)
        tensor(0.0067)
    """
    stretched = scales * mu
    kappa = torch.linalg.vector_norm(stretched, dim=-1)
    peak = log_normalizer(kappa, mu.shape[-1]) + scales.log().sum(-1)
    means, squares = scales * stretched, scales.square()
    return _NivmfCrossEntropy.apply(draws, means, squares, peak, labels, beta)


class _NivmfCrossEntropy(torch.autograd.Function):
    """Inputs draws [S, B, D], means and squares [C, D], peak [C], labels [B], beta []."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        draws: Tensor,
        means: Tensor,
        squares: Tensor,
        peak: Tensor,
        labels: Tensor,
        beta: Tensor,
    ) -> Tensor:
        classes, labels = (means, squares, peak), labels[:, None]
        grads = [torch.zeros_like(t) for t in (*classes, beta)]
        grad_draws, loss = torch.empty_like(draws), 0.0
        for images in tiles(draws.shape[1], len(draws) * len(means), draws.device, CPU_TILE):
            x = draws[:, images].flatten(0, 1)
            value, grad_x = _add_tile(x, classes, labels[images], beta, grads)
            loss += value
            grad_draws[:, images] = grad_x.view(len(draws), -1, draws.shape[-1])
        ctx.save_for_backward(grad_draws, *grads)
        return loss / len(labels)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        *others, of_beta = ctx.saved_tensors
        grad = grad / others[0].shape[1]
        return *(t * grad for t in others), None, of_beta * grad


def _add_tile(
    x: Tensor, classes: tuple[Tensor, ...], labels: Tensor, beta: Tensor, grads: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """The loss of some images [] and the gradient of their draws x [S n, D]; adds to `grads`."""
    means, squares, peak = classes
    dim, shape = x.shape[-1], (-1, len(labels), len(means))
    inverse = (x.square() @ squares.T).rsqrt_()  # 1 / |K x|
    cosine = (x @ means.T).mul_(inverse)
    log_prob = inverse.log().mul_(dim).add_(cosine).add_(peak)
    sums = log_prob.view(shape).logsumexp(0)
    values = sums - math.log(len(x) // len(labels))
    log_softmax = (beta * values).log_softmax(-1)
    loss = -log_softmax.gather(1, labels).sum()
    gradient = log_softmax.exp_().scatter_add_(1, labels, -torch.ones_like(values[:, :1]))
    grads[3] += torch.dot(gradient.flatten(), values.flatten())
    gradient *= beta
    grads[2] += gradient.sum(0)
    weights = log_prob.view(shape).sub_(sums).exp_().mul_(gradient).view_as(inverse)
    weights *= inverse  # dloss / d x.M
    of_squares = cosine.add_(dim).mul_(weights).mul_(inverse).mul_(-0.5)
    grads[0].addmm_(weights.T, x)
    grads[1].addmm_(of_squares.T, x.square())
    grad_x = of_squares @ squares
    return loss, torch.addmm(grad_x.mul_(x), weights, means, beta=2)
