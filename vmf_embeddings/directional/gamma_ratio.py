"""Differences of log Gamma and digamma functions at two far arguments, without cancellation.

Stirling's series (DLMF 5.11.1 and 5.11.2) at arguments that the recurrence (DLMF 5.5.1 and 5.5.2)
has moved up by 10, where seven terms leave 1e-15.
"""

import torch
from torch import Tensor

SHIFT = 10
# B_2n / (2n (2n - 1)), of z^(1 - 2n) in log Gamma
LOG_GAMMA_SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
# minus B_2n / 2n, of z^(-2n) in the digamma function
DIGAMMA_SERIES = (-1 / 12, 1 / 120, -1 / 252, 1 / 240, -1 / 132, 691 / 32760, -1 / 12)


def log_gamma_ratio(a: Tensor, b: Tensor) -> Tensor:
    """The difference log Gamma(a + b) - log Gamma(a), accurate also where a is many times b.

    Args:
        a: > 0, float64.
        b: >= 0, float64, broadcasts against `a`.

    Returns:
        Broadcast shape; differentiable to any order.

    >>> a = torch.tensor(1e9, dtype=torch.float64)
    >>> gain = log_gamma_ratio(a, torch.ones_like(a))  # Gamma(a + 1) = a Gamma(a)
    >>> round(float(gain - a.log()), 12)
    0.0
    """
    z, end = a + SHIFT, a + b + SHIFT
    # (z - 1/2) log z - z + series: the difference of the terms that grow is written out
    growth = (z - 0.5) * torch.log1p(b / z) + b * (end.log() - 1)
    series = _odd(LOG_GAMMA_SERIES, end.reciprocal()) - _odd(LOG_GAMMA_SERIES, z.reciprocal())
    steps = torch.stack([torch.log1p(b / (a + j)) for j in range(SHIFT)]).sum(0)
    return growth + series - steps


def digamma_difference(a: Tensor, b: Tensor) -> Tensor:
    """psi(a + b) - psi(a), accurate also where a is many times b.

    Args:
        a: > 0, float64.
        b: >= 0, float64, broadcasts against `a`.

    Returns:
        Broadcast shape, >= 0; differentiable to any order.

    >>> a = torch.tensor(1e9, dtype=torch.float64)
    >>> round(float(digamma_difference(a, torch.ones_like(a)) * a), 12)  # psi(a+1) - psi(a) = 1/a
    1.0
    """
    z, end = a + SHIFT, a + b + SHIFT
    inverse, inverse_end = z.reciprocal(), end.reciprocal()
    # log z - 1/(2 z) + series in 1/z^2; b / (z end) = 1/z - 1/end
    change = b * inverse * inverse_end
    result = torch.log1p(b * inverse) + change / 2
    # z^(-2n) - end^(-2n), from z^-2 - end^-2 = change (1/z + 1/end)
    squared, squared_end = inverse.square(), inverse_end.square()
    step = change * (inverse + inverse_end)
    power, fall = torch.ones_like(squared), torch.zeros_like(squared)
    for coefficient in DIGAMMA_SERIES:
        # x^(n+1) - y^(n+1) = y (x^n - y^n) + x^n (x - y)
        fall = squared_end * fall + power * step
        power = power * squared
        result = result - coefficient * fall
    for j in range(SHIFT):
        result = result + b / ((a + j) * (a + b + j))
    return result


def _odd(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    """c_0 x + c_1 x^3 + c_2 x^5 + .. ."""
    squared, total = x.square(), torch.zeros_like(x)
    for coefficient in reversed(coefficients):
        total = total * squared + coefficient
    return total * x
