"""Distances of the Poincare ball between all pairs, through one matrix product.

Ganea, Becigneul, Hofmann 2018, https://arxiv.org/abs/1805.09112, equation 2. No [Q, G, D] tensor
is built.
"""

import torch
from torch import Tensor

_CLIP = 1e-5  # of 2021: artanh's argument stays below 1 - 1e-5
_DENOMINATOR = 1e-5  # of 2021: added to the denominator of Mobius addition


def distance_ratio(x: Tensor, y: Tensor, c: float) -> Tensor:
    """|x-y|^2 / ((1-c|x|^2)(1-c|y|^2)): grows with the distance, and is cheaper.

    Args:
        x: points [Q, D] inside the ball of radius 1/sqrt(c).
        y: points [G, D] inside the same ball.
        c: minus the curvature, > 0.

    Returns:
        [Q, G], >= 0.

    Example:
        >>> distance_ratio(torch.zeros(1, 2), torch.tensor([[0.5, 0.0]]), 1.0)
        tensor([[0.3333]])
    """
    xx, yy = x.square().sum(-1)[:, None], y.square().sum(-1)
    squared = (xx + yy - 2 * x @ y.T).clamp_min(0)  # rounding makes it slightly negative for x = y
    return squared / ((1 - c * xx) * (1 - c * yy))


def distance(x: Tensor, y: Tensor, c: float) -> Tensor:
    """Geodesic distance arcosh(1 + 2c r) / sqrt(c), r the `distance_ratio`.

    Computed as 2 asinh(sqrt(c r)) / sqrt(c): arcosh near 1 would lose half the digits.

    Args:
        x: points [Q, D] inside the ball of radius 1/sqrt(c).
        y: points [G, D] inside the same ball.
        c: minus the curvature, > 0.

    Returns:
        [Q, G], >= 0; twice the Euclidean distance in the limit c -> 0.

    Example:
        >>> distance(torch.zeros(1, 2), torch.tensor([[0.5, 0.0]]), 1.0)
        tensor([[1.0986]])
    """
    return 2 / c**0.5 * (c * distance_ratio(x, y, c)).sqrt().asinh()


def reference_distance(x: Tensor, y: Tensor, c: float) -> Tensor:
    """The distance of 2021, 2 artanh(sqrt(c)|(-x) (+) y|) / sqrt(c) with clips; for parity only.

    It cannot exceed 12.206/sqrt(c) and is up to 1.8/sqrt(c) off near the border; `distance` is
    exact.

    Args:
        x: points [Q, D] of the ball.
        y: points [G, D] of the ball.
        c: minus the curvature, > 0.

    Returns:
        [Q, G].

    Example:
        >>> reference_distance(torch.zeros(1, 2), torch.tensor([[0.5, 0.0]]), 1.0)
        tensor([[1.0986]])
    """
    xx, yy, xy = x.square().sum(-1)[:, None], y.square().sum(-1), -x @ y.T
    from_x, from_y = 1 + 2 * c * xy + c * yy, 1 - c * xx
    denominator = 1 + 2 * c * xy + c**2 * xx * yy + _DENOMINATOR
    squared = from_x.square() * xx + 2 * from_x * from_y * xy + from_y.square() * yy
    norm = squared.clamp_min(0).sqrt() / denominator
    return 2 / c**0.5 * torch.atanh((c**0.5 * norm).clamp_max(1 - _CLIP))
