"""Logits of hyperbolic multinomial regression: signed distances to the hyperplanes of the classes.

Ganea, Becigneul, Hofmann 2018, https://arxiv.org/abs/1805.09112, equation 25. With u = -<p,x>, the
vector (-p) (+) x never has to be built: its product with a and its length follow from <p,x>,
<a,x>, |p|, |x|, so that only [B, C] matrices are needed and no [B, C, D]. Likewise
1 - c|m|^2 = (1-c|p|^2)(1-c|x|^2) / (1 + 2cu + c^2|p|^2|x|^2).
"""

import math

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from vmf_embeddings.hyperbolic.ball import conformal_factor

_DENOMINATOR = 1e-5  # in the denominator of Mobius addition, as in 2021
_LOWEST_ASINH = math.log(1e-5)
CPU_TILE = 2**15  # logits a tile and thread
DEVICE_TILE = 2**26


def hyperbolic_logits(x: Tensor, offsets: Tensor, normals: Tensor, c: float) -> Tensor:
    """Signed distance of every point to every hyperplane, times the length of its normal.

    lambda_p |a| / sqrt(c) asinh(2 sqrt(c) <m,a> / (|a| (1 - c|m|^2))) with m = (-p) (+) x

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
    """outer asinh(inner N denominator / room), a tile of rows at a time.

    Inputs <p,x> [B, C], <x,a> [B, C], |x|^2 [B, 1], |p|^2, <p,a>, inner, outer [C], and c.
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
            # its value, not its slope, is kept above log(1e-5), as in 2021
            torch.mul(parts.signed.asinh().clamp_min_(_LOWEST_ASINH), outer, out=logits[rows])
        ctx.save_for_backward(px, xa, xx, pp, pa, inner, outer, logits)
        ctx.c = c
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        px, xa, xx, pp, pa, inner, outer, logits = ctx.saved_tensors
        c, grad_px, grad_xa, grad_xx = ctx.c, *map(torch.empty_like, (px, xa, xx))
        sums = [torch.zeros_like(pp) for _ in range(5)]
        for rows in _tiles(px):
            # products of sure classes are not normal numbers, with which a processor is slow
            upstream = nn.functional.hardshrink(grad[rows], 2 * torch.finfo(grad.dtype).tiny)
            parts = _Parts(px[rows], xa[rows], xx[rows], pp, pa, inner, c)
            *by_row, columns = parts.gradient(upstream, outer)
            for target, part in zip((grad_px, grad_xa, grad_xx), by_row, strict=True):
                target[rows] = part
            columns = (*columns, (upstream * logits[rows]).sum(0))
            for target, part in zip(sums, columns, strict=True):
                target += part
        to_pp, to_pa, to_room, to_inner, to_outer = sums
        to_pp = to_pp - c * to_room
        return grad_px, grad_xa, grad_xx, to_pp, to_pa, to_inner / inner, to_outer / outer, None


class _Parts:
    """What value and gradient share, for rows of the inputs of `_SignedDistance`."""

    def __init__(
        self, px: Tensor, xa: Tensor, xx: Tensor, pp: Tensor, pa: Tensor, inner: Tensor, c: float
    ) -> None:
        self.xa, self.xx, self.pp, self.pa, self.inner, self.c = xa, xx, pp, pa, inner, c
        self.room_p, self.room_x = 1 - c * pp, 1 - c * xx
        self.along_p = (px * (-2 * c)).add_(1 + c * xx)
        self.exact = torch.addcmul(px.new_ones(()), xx, pp, value=c**2).add_(px, alpha=-2 * c)
        self.both = (self.room_x * self.room_p).add_(2 * _DENOMINATOR)
        # (1 - c|m|^2) denominator^2, written as a sum of positive terms: it cannot cancel near the
        # border
        self.room = (self.exact * self.both).add_(_DENOMINATOR**2)
        self.numerator = (self.room_p * xa).addcmul_(self.along_p, pa, value=-1)
        self.factor = (self.exact + _DENOMINATOR).div_(self.room).mul_(inner)
        self.signed = self.factor * self.numerator

    def gradient(
        self, upstream: Tensor, outer: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
        """Gradients of <p,x>, <x,a>, |x|^2; sums [C] for |p|^2, <p,a>, 1 - c|p|^2, inner."""
        c, epsilon = self.c, _DENOMINATOR
        through = self.signed.square().add_(1).rsqrt_().mul_(outer).mul_(upstream)
        to_inner = (through * self.signed).sum(0)
        # the quotient's slopes: - epsilon (both - epsilon) / room^2, - denominator exact / room^2
        common = (through * self.numerator).mul_(self.inner).div_(self.room).div_(self.room)
        to_exact = (epsilon - self.both).mul_(epsilon).mul_(common)
        to_both = (self.exact + epsilon).mul_(self.exact).mul_(common).neg_()
        to_numerator = through.mul_(self.factor)
        to_pa = -(to_numerator * self.along_p).sum(0)
        to_room = (to_numerator * self.xa).sum(0) + (to_both * self.room_x).sum(0)
        to_pp = c**2 * (to_exact * self.xx).sum(0)
        to_along = to_numerator * -self.pa
        to_xx = c * to_along.sum(1) + to_exact @ (c**2 * self.pp) - to_both @ (c * self.room_p)
        to_px = to_along.add_(to_exact).mul_(-2 * c)
        to_xa = to_numerator.mul_(self.room_p)
        return to_px, to_xa, to_xx[:, None], (to_pp, to_pa, to_room, to_inner)


def _tiles(matrix: Tensor) -> list[slice]:
    """Rows of [B, C] by tiles whose temporaries stay in the cache, or on the device."""
    tile = CPU_TILE * torch.get_num_threads() if matrix.device.type == "cpu" else DEVICE_TILE
    height = max(1, tile // matrix.shape[1])
    return [slice(first, first + height) for first in range(0, len(matrix), height)]
