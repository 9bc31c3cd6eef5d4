"""Angles of power spherical draws to their mean direction, with an exact gradient.

With h = theta / 2, sin^2(h) follows the Beta distribution with parameters b = (D - 1) / 2 and
a = b + kappa: h = atan(sqrt(G_b / G_a)) for two Gamma variables, which keeps full relative
precision where the angle is small. Its density is g(h) ~ sin(h)^(2b-1) cos(h)^(2a-1), and, by
implicit reparameterisation (Figurnov et al. 2018, https://arxiv.org/abs/1805.08498),

    dh / dkappa = -1/g(h) integral_0^h (2 log cos(s) - E) g(s) ds,  E = psi(a) - psi(a + b).
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from vmf_embeddings.directional.bessel import mean_cosine, widen
from vmf_embeddings.directional.gamma_ratio import digamma_difference
from vmf_embeddings.once_differentiable import once_differentiable

N_NODES = 32
NATS = 36.0  # the tail is cut where log g is this much below log g(h)
BLOCK = 2**20  # evaluations of the integrand at a time


def matched_concentration(kappa: Tensor, dim: int) -> Tensor:
    """Concentration of the power spherical distribution of the same mean as a von Mises-Fisher one.

    (D - 1) A / (1 - A) with the mean cosine A; in float64, as 1 - A cancels at large kappa.

    Args:
        kappa: of the von Mises-Fisher distributions, >= 0, any shape; gradients flow to it.
        dim: D >= 2.

    Returns:
        Shape and dtype of `kappa`.
    """
    mean = mean_cosine(widen(kappa), dim).to(torch.float64)
    return ((dim - 1) * mean / (1 - mean)).to(kappa.dtype)


def sample_angle(kappa: Tensor, dim: int, generator: torch.Generator | None) -> Tensor:
    """Angles in [0, pi], one for each entry of `kappa` >= 0; gradients flow to `kappa`.

    Args:
        kappa: any shape, float32 or float64.
        dim: D >= 2.
        generator: source of randomness, on the device of `kappa`.
    """
    with torch.no_grad():
        b = torch.full_like(kappa, (dim - 1) / 2)
        first = torch._standard_gamma(b, generator=generator)
        second = torch._standard_gamma(b + kappa, generator=generator)
        angle = 2 * torch.atan2(first.sqrt(), second.sqrt())
    if kappa.requires_grad and torch.is_grad_enabled():
        return _ImplicitAngle.apply(kappa, angle, dim)
    return angle


class _ImplicitAngle(torch.autograd.Function):
    """Angles unchanged; the backward pass multiplies by `angle_derivative`."""

    @staticmethod
    def forward(ctx: FunctionCtx, kappa: Tensor, angle: Tensor, dim: int) -> Tensor:
        ctx.save_for_backward(kappa, angle)
        ctx.dim = dim
        return angle.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None]:
        kappa, angle = ctx.saved_tensors
        return grad * angle_derivative(angle, kappa, ctx.dim), None, None


def angle_derivative(angle: Tensor, kappa: Tensor, dim: int) -> Tensor:
    """Derivative of a draw's angle with respect to kappa, at a fixed quantile.

    By Gauss-Legendre quadrature in float64 over the nearer tail.

    Args:
        angle: in [0, pi].
        kappa: >= 0, same shape.
        dim: D >= 2.

    Returns:
        Same shape and dtype as `angle`, <= 0.
    """
    flat = widen(angle).reshape(-1), widen(kappa).reshape(-1)
    columns = zip(*(t.split(BLOCK // N_NODES) for t in flat), strict=True)
    parts = [_derivative(h / 2, k, dim) for h, k in columns]
    joined = torch.cat(parts) if parts else flat[0]
    return (2 * joined).reshape(angle.shape).to(angle.dtype)


def _derivative(half: Tensor, kappa: Tensor, dim: int) -> Tensor:
    """Derivatives dh / dkappa [N]."""
    b = torch.full_like(kappa, (dim - 1) / 2)
    mean = -digamma_difference(b + kappa, b)  # E[2 log cos h]
    inner, outer = 2 * b - 1, 2 * (b + kappa) - 1  # exponents of sin and cos
    # in the tail on the side of h the integrand does not change sign
    sign = torch.where(2 * _log_cosine(half) > mean, -1.0, 1.0)
    tiny = torch.finfo(half.dtype).tiny
    tangent = half.tan().clamp_min(tiny)
    # log g falls from h on at this slope, with a curvature of at least (sqrt + sqrt)^2
    slope = (sign * (outer * tangent - inner / tangent)).clamp_min(0)
    curvature = (inner.sqrt() + outer.clamp_min(0).sqrt()).square()
    cut = 2 * NATS / (slope + (slope.square() + 2 * NATS * curvature).sqrt()).clamp_min(tiny)
    to_pole = torch.where(sign < 0, half, torch.pi / 2 - half)
    length = sign * torch.minimum(cut, to_pole)
    return sign * length.abs() * _mean(half, length, (inner, outer), mean)


def _mean(half: Tensor, length: Tensor, exponents: tuple[Tensor, Tensor], mean: Tensor) -> Tensor:
    """Mean of (2 log cos s - E) g(s) / g(h) over s from h to h + length, all [N]."""
    # s = h + length (1 - y^3): at the pole powers and logarithms of the distance become smooth
    nodes, weights = (half.new_tensor(v)[:, None] for v in _rule())
    step = length * nodes
    inner, outer = exponents
    sine, cosine = half.sin(), half.cos()
    turn, versine = step.sin(), 2 * (step / 2).sin().square()
    # sin(h + t) / sin(h) - 1 and cos(h + t) / cos(h) - 1
    tiny = torch.finfo(half.dtype).tiny
    rise = turn * (cosine / sine.clamp_min(tiny)) - versine
    fall = -turn * (sine / cosine.clamp_min(tiny)) - versine
    least = -1 + torch.finfo(half.dtype).eps
    log_cosine = fall.clamp_min(least).log1p()
    log_ratio = inner * rise.clamp_min(least).log1p() + outer * log_cosine
    score = 2 * (log_cosine + _log_cosine(half)) - mean
    return (weights * log_ratio.exp() * score).sum(0)


def _log_cosine(half: Tensor) -> Tensor:
    """Logarithm of cos h on [0, pi/2], with full relative precision near 0."""
    versine = 2 * (half / 2).sin().square()
    return (-versine.clamp_max(1 - torch.finfo(half.dtype).eps)).log1p()


@lru_cache(maxsize=1)
def _rule() -> tuple[list[float], list[float]]:
    """Nodes 1 - y^3 and weights 3 y^2 dy on [0, 1]."""
    y, weights = np.polynomial.legendre.leggauss(N_NODES)
    y, weights = (y + 1) / 2, weights / 2
    return (1 - y**3).tolist(), (3 * y**2 * weights).tolist()
