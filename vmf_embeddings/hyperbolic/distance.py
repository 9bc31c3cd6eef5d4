"""Distances of the Poincare ball between all pairs.

Ganea, Becigneul, Hofmann 2018, https://arxiv.org/abs/1805.09112, equation 2. No [Q, G, D] tensor
is built.
"""

import torch
from torch import Tensor

_CLIP = 1e-5  # of 2021: artanh's argument stays below 1 - 1e-5
_DENOMINATOR = 1e-5  # of 2021: added to the denominator of Mobius addition


def distance_ratio(x: Tensor, y: Tensor, c: float) -> Tensor:
    """|x-y|^2 / ((1-c|x|^2)(1-c|y|^2)): grows with the distance, and is cheaper.

    One matrix product: its rounding blurs pairs that are closer than about 1e-3 |x| in float32.

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
    between, metric = _differences(x, y, c)
    return 2 / c**0.5 * (c**0.5 * between / metric.sqrt()).asinh()


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
    between, metric = _differences(x, y, c)
    denominator = c * between.square() + metric  # of Mobius addition, without cancellation
    norm = between * denominator.sqrt() / (denominator + _DENOMINATOR)  # |(-x) (+) y|
    return 2 / c**0.5 * torch.atanh((c**0.5 * norm).clamp_max(1 - _CLIP))


def _differences(x: Tensor, y: Tensor, c: float) -> tuple[Tensor, Tensor]:
    """|x-y| [Q, G] to the last digit, also for x = y, and (1-c|x|^2)(1-c|y|^2) [Q, G]."""
    xx, yy = x.square().sum(-1)[:, None], y.square().sum(-1)
    between = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    return between, (1 - c * xx) * (1 - c * yy)
