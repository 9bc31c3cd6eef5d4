"""The log normalising constant log C_d(kappa) of the von Mises-Fisher density, exactly.

C_d(kappa) = kappa^{d/2-1} / ((2 pi)^{d/2} I_{d/2-1}(kappa)), Mardia and Jupp 2000, Directional
Statistics, eq. 9.3.4; d log C / d kappa = -A_d(kappa). The expansion is that of `bessel` (DLMF
10.41). The difference between two concentrations is computed without terms of the size of kappa,
whose cancellation would leave float32 no correct digit.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings.directional.bessel import (
    Expansion,
    bessel_ratio,
    check_dim,
    expansion,
    ratio_from_correction,
    widen,
)
from vmf_embeddings.directional.debye import evaluate, evaluate_pair, horner
from vmf_embeddings.directional.difference import Kernel, blockwise_difference

FLOAT32_MIN_DIM = 16  # below, a recurrence is needed whose rounding errors add up
FLOAT32_TOLERANCE = 1e-7
SMALL_DIM_ORDER = 8.0  # for results in float32 a shorter recurrence is accurate enough
SMALL_DIM_TOLERANCE = 1e-8
SERIES_BELOW = 0.01  # kappa^2 under which dim 3 uses the series; the next term is below 1e-18
# log(sinh(kappa) / kappa) in powers of kappa^2, coefficients 2^(2n-1) B_2n / (n (2n)!)
LOG_SINHC_SERIES = (
    1 / 6,
    -1 / 180,
    1 / 2835,
    -1 / 37800,
    1 / 467775,
)
# its derivative with respect to kappa^2
SINHC_SLOPE_SERIES = tuple(m * c for m, c in enumerate(LOG_SINHC_SERIES, start=1))


def log_normalizer(kappa: Tensor, dim: int) -> Tensor:
    """Log normalising constant log C_d(kappa) in nats, with respect to surface measure.

    No constant is left out: the density integrates to 1. Absolute error 1e-9 or less in float64 up
    to kappa = 1e6 (where the value itself is about 1e6). For differences in float32 use
    `log_normalizer_difference`.

    Args:
        kappa: concentration, >= 0, any float shape. At 0: minus the log area of the sphere.
        dim: dimension of the ambient space, >= 2.

    Returns:
        Same shape and dtype; differentiable to any order, with derivative -A_d(kappa).

    >>> area = 4 * math.pi
    >>> round(log_normalizer(torch.zeros((), dtype=torch.float64), 3).exp().item() * area, 12)
    1.0
    """
    plan = expansion(dim)
    q = widen(kappa).square()
    s = (q + plan.order**2).sqrt()
    log_bessel = s - plan.order * (s + plan.order).log() - 0.5 * (2 * math.pi * s).log()
    log_bessel = log_bessel + evaluate(plan.value, plan.order / s)
    if plan.steps:
        log_bessel = log_bessel + bessel_ratio(q, plan)[1].log()
    return (-log_bessel - dim / 2 * math.log(2 * math.pi)).to(kappa.dtype)


@dataclass(frozen=True)
class _Debye:
    """Debye's expansion, any dimension; in float32 where `plan` has no recurrence, else float64.

    With s_i = sqrt(order^2 + kappa_i^2), p_i = order / s_i, V as in `debye` and J = I / kappa^m,

        F = (s_2 - s_1) - order log((order + s_2) / (order + s_1)) - log(s_2 / s_1) / 2
            + V(p_2) - V(p_1), plus log of J_m / J_order at kappa_2 minus that at kappa_1

    where the last part comes from the recurrence (`bessel.bessel_ratio`), if there is one.
    """

    plan: Expansion

    @property
    def has_compiled_code(self) -> bool:
        return not self.plan.steps

    def compute_dtype(self, given: Tensor) -> torch.dtype:
        in_float32 = not self.plan.steps and given.dtype != torch.float64
        return torch.float32 if in_float32 else widen(given[:0] if given.dim() else given).dtype

    def start(self, kappa_squared: Tensor) -> tuple[Tensor, ...]:
        plan = self.plan
        s = self._root(kappa_squared)
        constant = evaluate(plan.value, plan.order / s)
        if plan.steps:
            constant = constant + bessel_ratio(kappa_squared, plan)[1].log()
        return s, (s + plan.order).reciprocal(), s.reciprocal(), constant, kappa_squared

    def _root(self, kappa_squared: Tensor) -> Tensor:
        """The root s = sqrt(order^2 + kappa^2).

        kappa^2 + delta comes first: in float32 order^2 could vanish beside kappa^2 alone.
        """
        return (kappa_squared + self.plan.order**2).sqrt_()

    def difference(self, start: tuple[Tensor, ...], delta: Tensor) -> Tensor:
        q = start[-1] + delta
        factor, s2 = None, self._root(q)
        if self.plan.steps:
            factor = bessel_ratio(q, self.plan)[1]
        value = evaluate(self.plan.value, s2.reciprocal().mul_(self.plan.order))
        return self._difference(start, delta, s2, value, factor)

    def difference_and_slope(
        self, start: tuple[Tensor, ...], delta: Tensor
    ) -> tuple[Tensor, Tensor]:
        plan, q = self.plan, start[-1] + delta
        s2 = self._root(q)
        t = s2.reciprocal()
        value, correction = evaluate_pair(plan.value, plan.slope, t * plan.order, (0.0, 0.5))
        ratio, factor = ratio_from_correction(s2, t, correction, q, plan)
        return self._difference(start, delta, s2, value, factor), ratio.mul_(0.5)

    def slope_at_start(self, start: tuple[Tensor, ...]) -> Tensor:
        plan, kappa_squared = self.plan, start[-1]
        s = self._root(kappa_squared)
        t = s.reciprocal()
        correction = horner(plan.slope, t * plan.order, 0.5)
        return ratio_from_correction(s, t, correction, kappa_squared, plan)[0].mul_(0.5)

    def _difference(
        self,
        start: tuple[Tensor, ...],
        delta: Tensor,
        s2: Tensor,
        value: Tensor,
        factor: Tensor | None,
    ) -> Tensor:
        """F from s2, V(p_2) and J_m / J_order at kappa_2 (`factor`, None without recurrence)."""
        s1, inverse_sum, inverse_s1, constant, _ = start
        plan = self.plan
        s_sum = s2 + s1
        s_change = torch.div(delta, s_sum, out=s_sum)  # s2 - s1 without cancellation
        result = value - constant
        if factor is not None:
            result += factor.log()
        result.add_((s2 * inverse_s1).log_(), alpha=-0.5)
        result.add_((s_change * inverse_sum).log1p_(), alpha=-plan.order)
        return result.add_(s_change)

    def slope(self, kappa_squared: Tensor) -> Tensor:
        return bessel_ratio(kappa_squared, self.plan)[0] / 2


class _ThreeDimensions:
    """Three dimensions, in closed form: log C = log(kappa / sinh kappa) - log(4 pi)."""

    plan = None
    has_compiled_code = True

    def compute_dtype(self, given: Tensor) -> torch.dtype:
        return widen(given[:0] if given.dim() else given).dtype

    def start(self, kappa_squared: Tensor) -> tuple[Tensor, ...]:
        return kappa_squared, log_sinhc(kappa_squared)

    def difference(self, start: tuple[Tensor, ...], delta: Tensor) -> Tensor:
        kappa_squared, log_sinhc_1 = start
        return log_sinhc(kappa_squared + delta).sub_(log_sinhc_1)

    def difference_and_slope(
        self, start: tuple[Tensor, ...], delta: Tensor
    ) -> tuple[Tensor, Tensor]:
        q = start[0] + delta
        large, is_small = q.clamp_min(SERIES_BELOW), q < SERIES_BELOW
        kappa = large.sqrt()
        series = evaluate_pair(
            LOG_SINHC_SERIES, (*SINHC_SLOPE_SERIES[1:], 0.0), q.clamp_max_(SERIES_BELOW),
            (0.0, SINHC_SLOPE_SERIES[0]),
        )  # fmt: skip
        value = torch.where(is_small, series[0], _closed_log_sinhc(kappa))
        return value.sub_(start[1]), torch.where(is_small, series[1], _closed_slope(kappa, large))

    def slope_at_start(self, start: tuple[Tensor, ...]) -> Tensor:
        return self.slope(start[0])

    def slope(self, kappa_squared: Tensor) -> Tensor:
        large = kappa_squared.clamp_min(SERIES_BELOW)
        first, *others = SINHC_SLOPE_SERIES
        series = evaluate(tuple(others), kappa_squared.clamp_max(SERIES_BELOW), first)
        closed = _closed_slope(large.sqrt(), large)
        return torch.where(kappa_squared < SERIES_BELOW, series, closed)


def log_sinhc(kappa_squared: Tensor) -> Tensor:
    """log(sinh(kappa) / kappa) as a function of kappa^2 >= 0, smooth at 0."""
    closed = _closed_log_sinhc(kappa_squared.clamp_min(SERIES_BELOW).sqrt_())
    series = evaluate(LOG_SINHC_SERIES, kappa_squared.clamp_max(SERIES_BELOW))
    return torch.where(kappa_squared < SERIES_BELOW, series, closed)


def _closed_log_sinhc(kappa: Tensor) -> Tensor:
    """log(sinh k / k) = k + log((1 - exp(-2 k)) / (2 k))."""
    minus_twice = -2 * kappa
    return minus_twice.expm1().div_(minus_twice).log_().add_(kappa)


def _closed_slope(kappa: Tensor, kappa_squared: Tensor) -> Tensor:
    """(kappa coth kappa - 1) / (2 kappa^2), whose numerator cancels near 0."""
    return (kappa / torch.tanh(kappa) - 1) / (2 * kappa_squared)


def normalizer_kernel(dim: int, dtype: torch.dtype) -> Kernel:
    """The cheapest evaluation of log C_dim, dim >= 2, that is accurate for results in `dtype`."""
    check_dim(dim)
    if dim == 3:
        return _ThreeDimensions()
    if dtype == torch.float64:
        return _Debye(expansion(dim))
    if dim >= FLOAT32_MIN_DIM:
        return _Debye(expansion(dim, dim / 2 - 1, FLOAT32_TOLERANCE))
    return _Debye(expansion(dim, SMALL_DIM_ORDER, SMALL_DIM_TOLERANCE))


def log_normalizer_difference(kappa_squared: Tensor, delta: Tensor, dim: int) -> Tensor:
    """Difference log C_d(k_1) - log C_d(k_2), k_2^2 = k_1^2 + delta, free of cancellation.

    This is log E[exp(beta w.z)] for w ~ vMF(mu, k_1), a unit vector z and delta = beta^2 + 2 beta
    k_1 mu.z: the term that the vMF loss needs for every image, draw and class (Scott et al. 2021,
    https://arxiv.org/abs/2103.15718). Absolute error for differences up to 100: 1e-9 in float64,
    2e-5 in float32 (where 100 itself is known to 4e-6). For float32 inputs with
    dim < 16 the computation runs in float64 inside.

    Args:
        kappa_squared: >= 0, any float shape; fastest as [C] against delta [B, S, C].
        delta: >= -kappa_squared, broadcasts against `kappa_squared`, same dtype.
        dim: dimension of the ambient space, >= 2.

    Returns:
        Broadcast shape, same dtype, 0 at delta = 0, increasing in delta; twice differentiable in
        both arguments. The derivative with respect to delta is A(kappa_2) / (2 kappa_2), finite
        (1/(2 dim)) at kappa_2 = 0.

    >>> q, delta = torch.tensor(60.0**2), torch.tensor(76.0**2 - 60.0**2)
    >>> round(log_normalizer_difference(q, delta, 128).item(), 4)
    6.9155
    """
    return blockwise_difference(kappa_squared, delta, normalizer_kernel(dim, delta.dtype))
