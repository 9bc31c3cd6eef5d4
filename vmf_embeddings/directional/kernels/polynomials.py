"""Polynomials for compiled code in float32, interpolated at Chebyshev nodes."""

from collections.abc import Callable

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial
from numpy.typing import NDArray

Function = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def fitted(function: Function, degree: int, low: float, high: float) -> Polynomial:
    """The polynomial that interpolates a smooth function at the Chebyshev nodes of [low, high].

    Args:
        function: elementwise, in float64.
        degree: of the polynomial.
        low: lower end of the interval.
        high: upper end.

    Returns:
        Polynomial in powers of x (not of the scaled variable of the interval).

    >>> round(float(fitted(np.exp, 6, -0.5, 0.5)(0.25)), 7) == round(float(np.exp(0.25)), 7)
    True
    """
    series = Chebyshev.interpolate(function, degree, domain=[low, high])
    return series.convert(kind=Polynomial)


def horner(polynomial: Polynomial, degree: int) -> tuple[np.float32, ...]:
    """The degree + 1 coefficients in float32, highest power first, as Horner's rule takes them."""
    coefficients = np.zeros(degree + 1, np.float32)
    coefficients[: len(polynomial.coef)] = polynomial.coef  # trailing zeros have been dropped
    return tuple(coefficients[::-1])


def _log_tail(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(log(1 + x) - x + x^2 / 2) / x^3; near 0, where that cancels, its series."""
    near = np.abs(x) < 1e-2
    far = np.where(near, 1.0, x)
    series = sum((-x) ** n / (n + 3) for n in range(6))
    return np.where(near, series, (np.log1p(far) - far + far**2 / 2) / far**3)


def _exp_tail(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(exp(x) - 1 - x) / x^2; near 0, where that cancels, its series."""
    near = np.abs(x) < 1e-2
    far = np.where(near, 1.0, x)
    series = 1 / 2 + x / 6 + x**2 / 24 + x**3 / 120 + x**4 / 720
    return np.where(near, series, (np.expm1(far) - far) / far**2)


def log_sinhc(q: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(sinh(kappa) / kappa) as a function of q = kappa^2; near 0 its series."""
    near = q < 1e-2
    kappa = np.sqrt(np.where(near, 1.0, q))
    series = q / 6 - q**2 / 180 + q**3 / 2835 - q**4 / 37800
    return np.where(near, series, kappa + np.log(-np.expm1(-2 * kappa) / (2 * kappa)))


def ratio_three(q: NDArray[np.float64]) -> NDArray[np.float64]:
    """A(kappa) / kappa = (kappa coth(kappa) - 1) / kappa^2, of q = kappa^2; near 0 its series."""
    near = q < 1e-2
    far = np.where(near, 1.0, q)
    series = 1 / 3 - q / 45 + 2 * q**2 / 945 - q**3 / 4725 + 2 * q**4 / 93555
    return np.where(near, series, (np.sqrt(far) / np.tanh(np.sqrt(far)) - 1) / far)


LOG_TAIL = horner(fitted(_log_tail, 8, 0.5**0.5 - 1, 2**0.5 - 1), 8)
EXP_TAIL = horner(fitted(_exp_tail, 4, -np.log(2) / 2, np.log(2) / 2), 4)
SINHC = horner(fitted(log_sinhc, 5, 0, 1), 5)  # for kappa below 1
RATIO = horner(fitted(ratio_three, 5, 0, 1), 5)
