"""The log normalising constant log C_d(kappa) of the von Mises-Fisher density, exactly.

C_d(kappa) = kappa^{d/2-1} / ((2 pi)^{d/2} I_{d/2-1}(kappa)), Mardia and Jupp 2000, Directional
Statistics, eq. 9.3.4; d log C / d kappa = -A_d(kappa). The expansion is that of `bessel` (DLMF
10.41). For the difference between two concentrations, numbers of the size of kappa are never formed
(they would cost a float32 user all digits).
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
    ratio_from_root,
    widen,
)
from vmf_embeddings.directional.debye import evaluate
from vmf_embeddings.directional.difference import Kernel, blockwise_difference

FLOAT32_MIN_DIM = 16  # below, float32 would need backward recurrence, whose roundings add up
FLOAT32_TOLERANCE = 1e-7
SMALL_DIM_ORDER = 8.0  # for a float32 answer a shorter recurrence will do
SMALL_DIM_TOLERANCE = 1e-8
SERIES_BELOW = 0.01  # kappa^2 under which dim 3 uses the series; the next term is below 1e-18
LOG_SINHC_SERIES = (  # of log(sinh(kappa) / kappa) in powers of kappa^2: 2^(2n-1) B_2n / (n (2n)!)
    1 / 6,
    -1 / 180,
    1 / 2835,
    -1 / 37800,
    1 / 467775,
)


def log_normalizer(kappa: Tensor, dim: int) -> Tensor:
    """Log normalising constant log C_d(kappa), in nats, for surface measure, all constants kept.

    Absolute error 1e-9 or less in float64 up to kappa = 1e6 (where the value itself is about 1e6).
    For differences in float32 use `log_normalizer_difference`.

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
    """Any dimension. float32 where `plan` needs no recurrence, float64 otherwise."""

    plan: Expansion

    def compute_dtype(self, given: Tensor) -> torch.dtype:
        narrow = not self.plan.steps and given.dtype != torch.float64
        return torch.float32 if narrow else widen(given[:0] if given.dim() else given).dtype

    def start(self, kappa_squared: Tensor) -> tuple[Tensor, ...]:
        plan = self.plan
        base = kappa_squared + plan.order**2
        s = base.sqrt()
        constant = evaluate(plan.value, plan.order / s)
        if plan.steps:
            constant = constant + bessel_ratio(kappa_squared, plan)[1].log()
        return base, s, (s + plan.order).reciprocal(), s.reciprocal(), constant, kappa_squared

    def difference(self, start: tuple[Tensor, ...], delta: Tensor) -> Tensor:
        base, *_, kappa_squared = start
        factor = None
        if self.plan.steps:
            factor = bessel_ratio(kappa_squared + delta, self.plan)[1]
        return self._difference(start, delta, (base + delta).sqrt_(), factor)

    def difference_and_slope(
        self, start: tuple[Tensor, ...], delta: Tensor
    ) -> tuple[Tensor, Tensor]:
        base, *_, kappa_squared = start
        s2 = (base + delta).sqrt_()
        q = kappa_squared + delta if self.plan.steps else None
        ratio, factor = ratio_from_root(s2, q, self.plan)
        return self._difference(start, delta, s2, factor), ratio.mul_(0.5)

    def _difference(
        self, start: tuple[Tensor, ...], delta: Tensor, s2: Tensor, factor: Tensor | None
    ) -> Tensor:
        """The difference, given s2 = sqrt(order^2 + kappa_2^2) and the recurrence's factor."""
        _, s1, inverse_sum, inverse_s1, constant, _ = start
        plan = self.plan
        rise = (s2 + s1).reciprocal_().mul_(delta)  # s2 - s1 without cancellation
        result = evaluate(plan.value, s2.reciprocal().mul_(plan.order))
        result -= constant
        if factor is not None:
            result += factor.log()
        result.add_((s2 * inverse_s1).log_(), alpha=-0.5)
        result.add_((rise * inverse_sum).log1p_(), alpha=-plan.order)
        return result.add_(rise)

    def slope(self, kappa_squared: Tensor) -> Tensor:
        return bessel_ratio(kappa_squared, self.plan)[0] / 2


class _ThreeDimensions:
    """The sphere in three dimensions: log C = log(kappa / sinh kappa) - log(4 pi)."""

    plan = None

    def compute_dtype(self, given: Tensor) -> torch.dtype:
        return widen(given[:0] if given.dim() else given).dtype

    def start(self, kappa_squared: Tensor) -> tuple[Tensor, ...]:
        return kappa_squared, log_sinhc(kappa_squared)

    def difference(self, start: tuple[Tensor, ...], delta: Tensor) -> Tensor:
        kappa_squared, first = start
        return log_sinhc(kappa_squared + delta).sub_(first)

    def difference_and_slope(
        self, start: tuple[Tensor, ...], delta: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self.difference(start, delta), self.slope(start[0] + delta)

    def slope(self, kappa_squared: Tensor) -> Tensor:
        # (kappa coth kappa - 1) / (2 kappa^2), whose numerator cancels near 0
        large = kappa_squared.clamp_min(SERIES_BELOW)
        kappa = large.sqrt()
        closed = (kappa / torch.tanh(kappa) - 1) / (2 * large)
        derivative = tuple(m * c for m, c in enumerate(LOG_SINHC_SERIES, start=1))
        series = evaluate(derivative[1:], kappa_squared.clamp_max(SERIES_BELOW), derivative[0])
        return torch.where(kappa_squared < SERIES_BELOW, series, closed)


def log_sinhc(kappa_squared: Tensor) -> Tensor:
    """Logarithm of sinh(kappa) / kappa as a function of kappa^2, analytic through 0."""
    kappa = kappa_squared.clamp_min(SERIES_BELOW).sqrt_()
    minus_twice = -2 * kappa
    closed = minus_twice.expm1().div_(minus_twice).log_().add_(kappa)
    series = evaluate(LOG_SINHC_SERIES, kappa_squared.clamp_max(SERIES_BELOW))
    return torch.where(kappa_squared < SERIES_BELOW, series, closed)


def normalizer_kernel(dim: int, dtype: torch.dtype) -> Kernel:
    """How to evaluate the normaliser of `dim` >= 2 dimensions for answers in `dtype`."""
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

    This is the log of E[exp(beta w.z)] over w ~ vMF(mu, kappa) with delta = beta^2 + 2 beta kappa
    mu.z, the term that the vMF loss needs for every instance, sample and class (Scott et al. 2021,
    https://arxiv.org/abs/2103.15718). Absolute error for differences up to 100: 1e-9 in float64,
    2e-5 in float32 (where 100 itself is known to 4e-6). float32 stays float32 for dim >= 16;
    smaller dimensions are worked in float64 inside.

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
