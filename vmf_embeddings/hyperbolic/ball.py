"""Points of the Poincare ball of curvature -c: exponential maps, Mobius addition, the metric.

Ganea, Becigneul, Hofmann 2018, "Hyperbolic Neural Networks", https://arxiv.org/abs/1805.09112
(section 2); with the guards of Khrulkov et al. 2020, "Hyperbolic Image Embeddings", https://arxiv.org/abs/1904.02239.
The ball has radius 1/sqrt(c). Vectors are in the last axis everywhere; leading axes broadcast.
"""

from typing import Any

import torch
from torch import Tensor

_MIN_NORM = 1e-5  # keeps tanh(r)/r finite at r = 0
_MAX_TANH = 15.0  # beyond it tanh rounds to 1 and its gradient to 0
_BORDER = 1e-3  # distance of projected points from the border, as a fraction of the radius


def _norm(x: Tensor) -> Tensor:
    """Norms [.., 1], at least _MIN_NORM."""
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(_MIN_NORM)


def _tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent of x, clamped to +-_MAX_TANH."""
    return x.clamp(-_MAX_TANH, _MAX_TANH).tanh()


def project(x: Tensor, c: float) -> Tensor:
    """Rescales points outside the ball, or within 0.1 % of its border, to norm 0.999/sqrt(c).

    Args:
        x: vectors [.., D], of any norm.
        c: minus the curvature, > 0.

    Returns:
        Points [.., D] of the ball; those of norm below 0.999/sqrt(c) are unchanged.

    Example:
        >>> project(torch.tensor([[0.0, 0.5], [3.0, 4.0]]), 1.0).norm(dim=-1)
        tensor([0.5000, 0.9990])
    """
    norm = _norm(x)
    largest = (1 - _BORDER) / c**0.5
    return x * torch.where(norm > largest, largest / norm, 1.0)


def expmap0(u: Tensor, c: float) -> Tensor:
    """Exponential map at the origin: tanh(sqrt(c)|u|) u / (sqrt(c)|u|).

    Args:
        u: tangent vectors [.., D], of any norm.
        c: minus the curvature, > 0.

    Returns:
        Points [.., D] of the ball; for large |u| rounding puts them on its border: `project` them
        before use.

    Example:
        >>> expmap0(torch.tensor([0.5, 0.0]), 1.0)
        tensor([0.4621, 0.0000])
    """
    scaled = c**0.5 * _norm(u)
    return u * (_tanh(scaled) / scaled)


def logmap0(x: Tensor, c: float) -> Tensor:
    """Logarithmic map at the origin, the inverse of `expmap0`: artanh(sqrt(c)|x|) x / (sqrt(c)|x|).

    Args:
        x: points [.., D] strictly inside the ball.
        c: minus the curvature, > 0.

    Returns:
        Tangent vectors [.., D].

    Example:
        >>> logmap0(expmap0(torch.tensor([0.5, 0.0]), 1.0), 1.0)
        tensor([0.5000, 0.0000])
    """
    scaled = c**0.5 * _norm(x)
    return x * (scaled.atanh() / scaled)


def mobius_add(x: Tensor, y: Tensor, c: float, denominator_epsilon: float = 0.0) -> Tensor:
    """Mobius addition x (+) y: the translation of y by x in the ball.

    ((1 + 2c<x,y> + c|y|^2) x + (1 - c|x|^2) y) / (1 + 2c<x,y> + c^2|x|^2|y|^2)

    Args:
        x: points [.., D] of the ball.
        y: points [.., D] of the ball.
        c: minus the curvature, > 0.
        denominator_epsilon: added to the denominator; 1e-5 in the code of Scott et al. 2021.

    Returns:
        Points [.., D]. The operation is neither commutative nor associative.

    Example:
        >>> x = torch.tensor([0.5, 0.25])
        >>> mobius_add(-x, x, 1.0)
        tensor([0., 0.])
    """
    xy = (x * y).sum(-1, keepdim=True)
    xx = x.square().sum(-1, keepdim=True)
    yy = y.square().sum(-1, keepdim=True)
    numerator = (1 + 2 * c * xy + c * yy) * x + (1 - c * xx) * y
    return numerator / (1 + 2 * c * xy + c**2 * xx * yy + denominator_epsilon)


def conformal_factor(x: Tensor, c: float) -> Tensor:
    """lambda_x = 2 / (1 - c|x|^2), the ratio of hyperbolic to Euclidean length at x.

    Args:
        x: points [.., D] of the ball.
        c: minus the curvature, > 0.

    Returns:
        [..], >= 2; |x|^2 is clamped to 1/c - 1e-4, as the factor is infinite at 1/c.

    Example:
        >>> conformal_factor(torch.tensor([0.0, 0.5]), 1.0)
        tensor(2.6667)
    """
    return 2 / (1 - c * x.square().sum(-1).clamp_max(1 / c - 1e-4))


def expmap(x: Tensor, u: Tensor, c: float, denominator_epsilon: float = 0.0) -> Tensor:
    """Exponential map at x: x (+) tanh(sqrt(c) lambda_x |u| / 2) u / (sqrt(c)|u|).

    Args:
        x: points [.., D] of the ball.
        u: tangent vectors [.., D] at x.
        c: minus the curvature, > 0.
        denominator_epsilon: see `mobius_add`.

    Returns:
        Points [.., D]: the geodesic from x with initial velocity u, at time 1.

    Example:
        >>> u = torch.tensor([0.5, 0.0])
        >>> torch.allclose(expmap(torch.zeros(2), u, 1.0), expmap0(u, 1.0))
        True
    """
    norm = _norm(u)
    step = _tanh(c**0.5 * conformal_factor(x, c)[..., None] * norm / 2) * u / (c**0.5 * norm)
    return mobius_add(x, step, c, denominator_epsilon)


class _RiemannianGradient(torch.autograd.Function):
    """Identity; the backward pass multiplies by the inverse metric (1 - c|x|^2)^2 / 4."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, c: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.c = c  # kept per call: models of different curvature may be used in one process
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        scale = (1 - ctx.c * x.square().sum(-1, keepdim=True)).square() / 4
        return grad * scale, None


def riemannian_gradient(x: Tensor, c: float) -> Tensor:
    """Identity whose backward pass converts the Euclidean gradient to the Riemannian gradient.

    Args:
        x: points [.., D] of the ball.
        c: minus the curvature, > 0.

    Returns:
        x; its gradient is multiplied by (1 - c|x|^2)^2 / 4 per point.

    Example:
        >>> x = torch.zeros(2, requires_grad=True)
        >>> riemannian_gradient(x, 1.0).sum().backward()
        >>> x.grad
        tensor([0.2500, 0.2500])
    """
    return _RiemannianGradient.apply(x, c)
