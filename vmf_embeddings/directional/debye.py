"""Debye's uniform expansion of modified Bessel functions, from exact fractions.

DLMF 10.41.3 and 10.41.9 (https://dlmf.nist.gov/10.41). With s = sqrt(order^2 + kappa^2) and p =
order / s,

    log I_order(kappa) = s - order log((order + s) / kappa) - 1/2 log(2 pi s) + V(p),

where V is the logarithm of the usual series sum_k u_k(p) / order^k, expanded in 1/order and
collected into one polynomial in p.
"""

from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

from vmf_embeddings.directional.constants import constant

Polynomial = tuple[Fraction, ...]
POWERS = 2**20  # numbers in a table of powers, at most: 8 MB


def _multiply(left: Polynomial, right: Polynomial) -> Polynomial:
    """The product of two polynomials, coefficients lowest power first."""
    product = [Fraction(0)] * (len(left) + len(right) - 1)
    for i, x in enumerate(left):
        for j, y in enumerate(right):
            product[i + j] += x * y
    return tuple(product)


def _add(left: Polynomial, right: Polynomial, scale: Fraction) -> Polynomial:
    """The polynomial left + scale * right."""
    size = max(len(left), len(right))
    padded = [list(poly) + [Fraction(0)] * (size - len(poly)) for poly in (left, right)]
    return tuple(x + scale * y for x, y in zip(*padded, strict=True))


def _next_debye(poly: Polynomial) -> Polynomial:
    """u_{k+1}(p) = 1/2 p^2 (1 - p^2) u_k'(p) + 1/8 integral_0^p (1 - 5 t^2) u_k(t) dt."""
    derivative = tuple(i * c for i, c in enumerate(poly))[1:] or (Fraction(0),)
    first = _multiply(
        (Fraction(0), Fraction(0), Fraction(1), Fraction(0), Fraction(-1)), derivative
    )
    integrand = _multiply((Fraction(1), Fraction(0), Fraction(-5)), poly)
    integral = (Fraction(0), *(c / (i + 1) for i, c in enumerate(integrand)))
    halved = tuple(c / 2 for c in first)
    return _add(halved, integral, Fraction(1, 8))


@lru_cache(maxsize=1)
def log_debye_polynomials(n_terms: int = 11) -> tuple[Polynomial, ...]:
    """Coefficients of v_1(p) .. v_n(p), where sum_k v_k / order^k = log(1 + sum_k u_k / order^k).

    Args:
        n_terms: how many polynomials; v_k has degree 3k.

    Returns:
        Polynomials, lowest power first.

    Example:
        >>> [str(c) for c in log_debye_polynomials()[0]]
        ['0', '1/8', '0', '-5/24', '0']
    """
    debye = [_next_debye((Fraction(1),))]
    while len(debye) < n_terms:
        debye.append(_next_debye(debye[-1]))
    logs: list[Polynomial] = []
    for n, poly in enumerate(debye, start=1):
        for j, earlier in enumerate(logs, start=1):
            # v_n = u_n - sum_{j<n} (j/n) v_j u_{n-j}
            poly = _add(poly, _multiply(earlier, debye[n - j - 1]), Fraction(-j, n))
        logs.append(poly)
    return tuple(logs)


@lru_cache(maxsize=256)
def correction_coefficients(order: float, tolerance: float) -> tuple[float, ...]:
    """Coefficients of V(p) = sum_m c_m p^m for one order, as few as `tolerance` allows.

    Args:
        order: order of the Bessel function, > 0; 20 or more for a tolerance of 1e-13.
        tolerance: the largest value that the first omitted term may take on 0 <= p <= 1.

    Returns:
        Coefficients of p, p^2, p^3, ...; there is no constant term.
    """
    grid = [i / 64 for i in range(65)]
    total: Polynomial = (Fraction(0),)
    scale = Fraction(1)
    for poly in log_debye_polynomials():
        scale /= Fraction(order)
        floats = [float(c * scale) for c in poly]
        if max(abs(sum(c * p**i for i, c in enumerate(floats))) for p in grid) < tolerance:
            break
        total = _add(total, poly, scale)
    degree = max((i for i, c in enumerate(total) if c), default=0)
    return tuple(float(c) for c in total[1 : degree + 1])


def evaluate(coefficients: tuple[float, ...], p: Tensor, lowest: float = 0.0) -> Tensor:
    """As `horner`, but of few numbers on a device in two kernel launches, see `values`."""
    if _by_powers(p, len(coefficients)):
        return values((coefficients,), p, (lowest,))[0]
    return horner(coefficients, p, lowest)


def horner(coefficients: tuple[float, ...], p: Tensor, lowest: float = 0.0) -> Tensor:
    """Value of lowest + sum_m coefficients[m - 1] p^m by Horner's rule, [shape of `p`]."""
    value = constant(coefficients[-1] if coefficients else 0.0, p)
    for coefficient in (*coefficients[-2::-1], lowest):
        value = torch.addcmul(constant(coefficient, p), value, p)
    return value


def values(
    polynomials: tuple[tuple[float, ...], ...], p: Tensor, lowest: tuple[float, ...]
) -> tuple[Tensor, ...]:
    """Values of polynomials of equal length: of few numbers on a device, in two kernel launches.

    Their sums are as exact as Horner's rule where no coefficient is much larger than the result.

    Args:
        polynomials: coefficients of p, p^2, … of each.
        p: any shape.
        lowest: constant term of each.

    Returns:
        A tensor of the shape of `p` for each polynomial.

    >>> values(((1.0, 2.0), (0.0, 3.0)), torch.tensor(0.5), (0.0, 1.0))
    (tensor(1.), tensor(1.7500))
    """
    n = len(polynomials[0])
    if not _by_powers(p, n):
        pairs = zip(polynomials, lowest, strict=True)
        return tuple(horner(polynomial, p, least) for polynomial, least in pairs)
    table = tuple(c for least, row in zip(lowest, polynomials, strict=True) for c in (least, *row))
    powers = p[..., None].pow(constant(tuple(map(float, range(n + 1))), p))
    return (powers @ constant(table, p).view(-1, n + 1).T).unbind(-1)


def _by_powers(p: Tensor, n: int) -> bool:
    """Whether a polynomial of degree n is evaluated by a table of the powers of p."""
    return p.device.type != "cpu" and p.dtype == torch.float64 and p.numel() * n <= POWERS


def evaluate_pair(
    first: tuple[float, ...],
    second: tuple[float, ...],
    p: Tensor,
    lowest: tuple[float, float] = (0.0, 0.0),
) -> tuple[Tensor, Tensor]:
    """Values of two polynomials of equal length, as of `evaluate`; on a device in half the calls.

    Args:
        first: coefficients of p, p^2, …
        second: as many.
        p: any shape.
        lowest: constant terms of the two.

    Returns:
        Two tensors of the shape of `p`.

    >>> evaluate_pair((1.0, 2.0), (0.0, 3.0), torch.tensor(0.5), (0.0, 1.0))
    (tensor(1.), tensor(1.7500))
    """
    if p.device.type == "cpu":  # where one at a time stays in the cache
        return horner(first, p, lowest[0]), horner(second, p, lowest[1])
    coefficients = [*zip(first, second, strict=True)] or [(0.0, 0.0)]
    shape = (2,) + (1,) * p.dim()
    value = constant(coefficients[-1], p).view(shape)
    for pair in (*coefficients[-2::-1], lowest):
        value = torch.addcmul(constant(pair, p).view(shape), value, p)
    return value.unbind()
