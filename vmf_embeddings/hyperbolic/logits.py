"""Logits of hyperbolic multinomial regression: signed distances to the hyperplanes of the classes.

Ganea, Becigneul, Hofmann 2018, https://arxiv.org/abs/1805.09112, equation 25. The vectors
m = (-p) (+) x [B, C, D] are never built: <m,a> and |m| follow from <p,x>, <x,a>, |p| and |x|, so
that only [B, C] matrices are needed. With

    d     = 1 - 2c<p,x> + c^2|p|^2|x|^2                        denominator of m
    n     = (1-c|p|^2) <x,a> - (1 + c|x|^2 - 2c<p,x>) <p,a>    numerator of <m,a>
    gap_p = 1 - c|p|^2,   gap_x = 1 - c|x|^2

and e = 1e-5 added to d as in 2021, <m,a> = n / (d + e), and

    gap_m = (d + e)^2 (1 - c|m|^2) = d (gap_x gap_p + 2e) + e^2,

a sum of positive terms, which cannot cancel near the border of the ball. The argument of asinh is

    signed = inner n (d + e) / gap_m,    inner = 2 sqrt(c) / |a|.
"""

import math

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from vmf_embeddings.hyperbolic.ball import conformal_factor
from vmf_embeddings.once_differentiable import once_differentiable
from vmf_embeddings.tiles import tiles

_DENOMINATOR = 1e-5  # e above
_LOWEST_ASINH = math.log(1e-5)  # as in 2021
CPU_TILE = 2**15  # logits per tile and thread
DEVICE_TILE = 2**26
KEPT = 2**20  # logits up to which intermediate results are kept on a device: 8 matrices of 4 MB


def hyperbolic_logits(x: Tensor, offsets: Tensor, normals: Tensor, c: float) -> Tensor:
    """Signed distance of every point to every hyperplane, times lambda_p |a|.

    lambda_p |a| / sqrt(c) asinh(2 sqrt(c) <m,a> / (|a| (1 - c|m|^2))), m = (-p) (+) x,
    with lambda_p = 2 / (1 - c|p|^2); values below lambda_p |a| / sqrt(c) log(1e-5) are clamped.

    Args:
        x: points [B, D] inside the ball of radius 1/sqrt(c).
        offsets: p, a point of each hyperplane [C, D], inside the ball.
        normals: a, the normal of each hyperplane at p [C, D], not zero.
        c: minus the curvature, > 0.

    Returns:
        [B, C], differentiable once; 0 on the hyperplane; 4<x-p,a> in the limit c -> 0. Near the
        border with c >= 0.1 use float64.

    Example:
        >>> x, p, a = torch.tensor([[0.5, 0.0], [0.0, 0.0], [1.0, 0.0]]).split(1)
        >>> hyperbolic_logits(x, p, a, 1.0)
        tensor([[2.1972]])
    """
    xx, pp = x.square().sum(-1)[:, None], offsets.square().sum(-1)
    px, pa, xa = x @ offsets.T, (offsets * normals).sum(-1), x @ normals.T
    length = torch.linalg.vector_norm(normals, dim=-1)
    outer = conformal_factor(offsets, c) * length / c**0.5
    return _SignedDistance.apply(px, xa, xx, pp, pa, 2 * c**0.5 / length, outer, c)


class _SignedDistance(torch.autograd.Function):
    """The logits outer * asinh(signed), a tile of rows at a time; see the head of this file.

    Inputs: <p,x> [B, C], <x,a> [B, C], |x|^2 [B, 1]; |p|^2, <p,a>, inner, outer [C]; and c.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        px: Tensor,
        xa: Tensor,
        xx: Tensor,
        pp: Tensor,
        pa: Tensor,
        inner: Tensor,
        outer: Tensor,
        c: float,
    ) -> Tensor:
        logits = torch.empty_like(px)
        for rows in _tiles(px):
            parts = _Parts(px[rows], xa[rows], xx[rows], pp, pa, inner, c)
            # clamped in value only: the gradient is that of asinh, as in 2021
            torch.mul(parts.signed.asinh().clamp_min_(_LOWEST_ASINH), outer, out=logits[rows])
        ctx.save_for_backward(px, xa, xx, pp, pa, inner, outer, logits)
        ctx.c, ctx.parts = c, parts if _keeps_parts(px) else None
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        px, xa, xx, pp, pa, inner, outer, logits = ctx.saved_tensors
        c, grad_px, grad_xa, grad_xx = ctx.c, *map(torch.empty_like, (px, xa, xx))
        sums = pp.new_zeros(5, len(pp)).unbind()
        for rows in _tiles(px):
            # gradients of near-certain classes underflow to denormal numbers, which are slow
            upstream = nn.functional.hardshrink(grad[rows], 2 * torch.finfo(grad.dtype).tiny)
            parts = ctx.parts or _Parts(px[rows], xa[rows], xx[rows], pp, pa, inner, c)
            *by_row, columns = parts.gradient(upstream, outer)
            for target, part in zip((grad_px, grad_xa, grad_xx), by_row, strict=True):
                target[rows] = part
            columns = (*columns, (upstream * logits[rows]).sum(0))
            for target, part in zip(sums, columns, strict=True):
                target += part
        grad_pp, grad_pa, grad_gap_p, signed_sum, logit_sum = sums
        grad_pp = grad_pp - c * grad_gap_p
        # signed and logits are proportional to inner and outer
        grad_inner, grad_outer = signed_sum / inner, logit_sum / outer
        return grad_px, grad_xa, grad_xx, grad_pp, grad_pa, grad_inner, grad_outer, None


class _Parts:
    """Intermediate results of value and gradient, for some rows of the inputs of `_SignedDistance`.

    Attributes:
        gap_p: 1 - c|p|^2 [C].
        gap_x: 1 - c|x|^2 [B, 1].
        p_coeff: 1 + c|x|^2 - 2c<p,x> [B, C].
        denominator: d [B, C].
        gaps: gap_x gap_p + 2e [B, C].
        gap_m: [B, C].
        numerator: n [B, C].
        factor: inner (d + e) / gap_m [B, C].
        signed: argument of asinh, factor * numerator [B, C].
    """

    def __init__(
        self, px: Tensor, xa: Tensor, xx: Tensor, pp: Tensor, pa: Tensor, inner: Tensor, c: float
    ) -> None:
        self.xa, self.xx, self.pp, self.pa, self.inner, self.c = xa, xx, pp, pa, inner, c
        self.gap_p, self.gap_x = 1 - c * pp, 1 - c * xx
        self.p_coeff = (px * (-2 * c)).add_(1 + c * xx)
        one = px.new_ones(())
        self.denominator = torch.addcmul(one, xx, pp, value=c**2).add_(px, alpha=-2 * c)
        self.gaps = (self.gap_x * self.gap_p).add_(2 * _DENOMINATOR)
        self.gap_m = (self.denominator * self.gaps).add_(_DENOMINATOR**2)
        self.numerator = (self.gap_p * xa).addcmul_(self.p_coeff, pa, value=-1)
        self.factor = (self.denominator + _DENOMINATOR).div_(self.gap_m).mul_(inner)
        self.signed = self.factor * self.numerator

    def gradient(
        self, upstream: Tensor, outer: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
        """Gradients from that of the logits, `upstream` [B, C].

        Returns:
            Those of <p,x> [B, C], <x,a> [B, C] and |x|^2 [B, 1]; and summed over rows [C] those of
            |p|^2 (without the part through gap_p), <p,a> and gap_p, and inner times that of inner.
        """
        c, epsilon = self.c, _DENOMINATOR
        # d asinh(s) / ds = 1 / sqrt(s^2 + 1)
        grad_signed = self.signed.square().add_(1).rsqrt_().mul_(outer).mul_(upstream)
        signed_sum = (grad_signed * self.signed).sum(0)
        # derivatives of (d + e) / gap_m: by d -e (gaps - e) / gap_m^2, by gaps -(d + e) d / gap_m^2
        common = (grad_signed * self.numerator).mul_(self.inner).div_(self.gap_m).div_(self.gap_m)
        grad_denominator = (epsilon - self.gaps).mul_(epsilon).mul_(common)
        grad_gaps = (self.denominator + epsilon).mul_(self.denominator).mul_(common).neg_()
        grad_numerator = grad_signed.mul_(self.factor)
        grad_pa = -(grad_numerator * self.p_coeff).sum(0)
        grad_gap_p = (grad_numerator * self.xa).sum(0) + (grad_gaps * self.gap_x).sum(0)
        grad_pp = c**2 * (grad_denominator * self.xx).sum(0)
        grad_p_coeff = grad_numerator * -self.pa
        grad_xx = c * grad_p_coeff.sum(1) + grad_denominator @ (c**2 * self.pp)
        grad_xx = grad_xx - grad_gaps @ (c * self.gap_p)
        grad_px = grad_p_coeff.add_(grad_denominator).mul_(-2 * c)
        grad_xa = grad_numerator.mul_(self.gap_p)
        return grad_px, grad_xa, grad_xx[:, None], (grad_pp, grad_pa, grad_gap_p, signed_sum)


def _keeps_parts(matrix: Tensor) -> bool:
    """Whether the backward pass reuses the intermediate results of the forward pass.

    Where memory allows, on devices; on the CPU computing them again in the cache is faster.
    """
    # sizes last: a graph for any number of rows must not ask for them
    if matrix.device.type == "cpu" or torch.compiler.is_compiling():
        return False
    return matrix.numel() <= KEPT and len(_tiles(matrix)) == 1


def _tiles(matrix: Tensor) -> list[slice]:
    """Slices of the rows of [B, C] into tiles whose temporaries fit the cache or the device."""
    return tiles(*matrix.shape, matrix.device, CPU_TILE, DEVICE_TILE)
