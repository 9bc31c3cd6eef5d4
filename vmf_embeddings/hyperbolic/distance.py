"""Distances of the Poincare ball between all pairs.

Ganea, Becigneul, Hofmann 2018, https://arxiv.org/abs/1805.09112, equation 2. No [Q, G, D] tensor
is built.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 2**20  # pairs at a time: 8 MB in float64
_CLOSE = (
    2.0**-26
)  # of |x|^2: what |x-y|^2 must exceed for float64's product to have float32's digits
_TINY = 1e-30  # its square root has a slope
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
    ratio = _factor(x, c)[0] @ _factor(y, c, swap=True)[0].T
    return ratio.clamp_min_(0)  # rounding makes |x-y|^2 slightly negative for x = y


def distance(x: Tensor, y: Tensor, c: float) -> Tensor:
    """Geodesic distance arcosh(1 + 2c r) / sqrt(c), r the `distance_ratio`.

    Exact to rounding for any pair, 0 for x = y: arcosh near 1 would lose half the digits, and a
    product in float32 those of close pairs.

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
    """2 asinh(t) / sqrt(c), t = sqrt(c) root, as log(1 + 2 t (t + sqrt(t^2 + 1)))."""
    t = c**0.5 * root
    return ((t.square().add_(1).sqrt() + t) * (2 * t)).log1p() / c**0.5


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


def _roots(x: Tensor, y: Tensor, c: float) -> Iterator[Tensor]:
    """Square roots of `distance_ratio`, in float32 and with all its digits, by blocks of rows.

    The products are in float64; where even those would cancel, pairs are treated one by one.
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
    """Rows (-2x, |x|^2, 1), or (x, 1, |x|^2), over 1 - c|x|^2, and that, [N, 1]."""
    squared = points.square().sum(-1, keepdim=True)
    metric, one = 1 - c * squared, torch.ones_like(squared)
    columns = (points, one, squared) if swap else (-2 * points, squared, one)
    return torch.cat(columns, -1).div_(metric), metric
