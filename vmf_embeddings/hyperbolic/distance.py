"""Distances between all pairs of points of the Poincare ball.

Ganea, Becigneul, Hofmann 2018, https://arxiv.org/abs/1805.09112, equation 2. No [Q, G, D] tensor
is built.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 2**20  # pairs at a time: 8 MB in float64
# where |x-y|^2 < 2^-26 |x|^2, a matrix product in float64 leaves fewer digits than float32 has
_CLOSE = 2.0**-26
_TINY = 1e-30  # smallest argument of the square root, whose gradient is infinite at 0
_CLIP = 1e-5  # as in 2021: the argument of artanh stays below 1 - 1e-5
_DENOMINATOR = 1e-5  # as in 2021: added to the denominator of Mobius addition


def distance_ratio(x: Tensor, y: Tensor, c: float) -> Tensor:
    """Ratio r = |x-y|^2 / ((1-c|x|^2)(1-c|y|^2)): increases with the distance, is cheaper.

    By one matrix product; in float32 its rounding hides distances |x-y| below about 1e-3 |x|.

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
    ratio = _factor(x, c)[0] @ _factor(y, c, swap=True)[0].T
    return ratio.clamp_min_(0)  # rounding makes |x-y|^2 slightly negative for x = y


def distance(x: Tensor, y: Tensor, c: float) -> Tensor:
    """Geodesic distance arcosh(1 + 2c r) / sqrt(c), r the `distance_ratio`.

    Accurate to rounding for every pair, 0 for x = y. Computed as 2 arsinh(sqrt(c r)) / sqrt(c), as
    arcosh near 1 would lose half the digits; close pairs do not go through a matrix product.

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
    if x.dtype == torch.float64:
        between, metric = _differences(x, y, c)
        return _length(between / metric.sqrt(), c)
    return torch.cat([_length(root, c) for root in _roots(x, y, c)])


def _length(root: Tensor, c: float) -> Tensor:
    """2 arsinh(t) / sqrt(c), t = sqrt(c) root; 2 arsinh(t) = log(1 + 2 t (t + sqrt(t^2 + 1)))."""
    t = c**0.5 * root
    return ((t.square().add_(1).sqrt() + t) * (2 * t)).log1p() / c**0.5


def reference_distance(x: Tensor, y: Tensor, c: float) -> Tensor:
    """The clamped distance of 2021, 2 artanh(sqrt(c)|(-x) (+) y|) / sqrt(c); to reproduce it only.

    It cannot exceed 12.206/sqrt(c); near the border its error reaches 1.8/sqrt(c). `distance` is
    exact.

    Args:
        x: points [Q, D] of the ball.
        y: points [G, D] of the ball.
        c: minus the curvature, > 0.

    Returns:
        [Q, G], >= 0.

    Example:
        >>> reference_distance(torch.zeros(1, 2), torch.tensor([[0.5, 0.0]]), 1.0)
        tensor([[1.0986]])
    """
    between, metric = _differences(x, y, c)
    # |(-x) (+) y| = |x-y| / sqrt(d), d = 1 - 2c<x,y> + c^2|x|^2|y|^2 without cancellation
    denominator = c * between.square() + metric
    norm = between * denominator.sqrt() / (denominator + _DENOMINATOR)
    return 2 / c**0.5 * torch.atanh((c**0.5 * norm).clamp_max(1 - _CLIP))


def _differences(x: Tensor, y: Tensor, c: float) -> tuple[Tensor, Tensor]:
    """|x-y| [Q, G], accurate to rounding also near 0, and (1-c|x|^2)(1-c|y|^2) [Q, G]."""
    xx, yy = x.square().sum(-1)[:, None], y.square().sum(-1)
    between = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    return between, (1 - c * xx) * (1 - c * yy)


def _roots(x: Tensor, y: Tensor, c: float) -> Iterator[Tensor]:
    """Square roots of `distance_ratio` [rows, G], accurate in float32, by blocks of rows of x.

    The matrix products are in float64; pairs so close that even those cancel are computed singly.
    """
    by_y, metric_y = _factor(y.double(), c, swap=True)
    for rows in torch.arange(len(x), device=x.device).split(max(1, BLOCK // max(1, len(y)))):
        by_x, metric_x = _factor(x[rows].double(), c)
        ratio = by_x @ by_y.T
        root = ratio.to(x.dtype).clamp_min(_TINY).sqrt()
        close = _CLOSE * by_x[:, -2:-1] / metric_x  # _CLOSE |x|^2 / (1-c|x|^2)^2
        for pairs in (ratio < close).nonzero().split(BLOCK // x.shape[1] + 1):
            i, j = pairs.unbind(-1)
            metric = (metric_x[i] * metric_y[j]).sqrt().squeeze(-1)
            between = torch.linalg.vector_norm(x[rows[i]].double() - y[j].double(), dim=-1)
            root = root.index_put((i, j), (between / metric).to(x.dtype))
        yield root


def _factor(points: Tensor, c: float, swap: bool = False) -> tuple[Tensor, Tensor]:
    """The factors of `distance_ratio` as a matrix product, and m = 1 - c|x|^2 [N, 1].

    (-2x, |x|^2, 1) / m . (y, 1, |y|^2) / m_y = |x-y|^2 / (m m_y); `swap` gives the second factor.

    Returns:
        [N, D + 2] and [N, 1].
    """
    squared = points.square().sum(-1, keepdim=True)
    metric, one = 1 - c * squared, torch.ones_like(squared)
    columns = (points, one, squared) if swap else (-2 * points, squared, one)
    return torch.cat(columns, -1).div_(metric), metric
