"""The von Mises-Fisher distribution and the uniform one as `torch.distributions` objects.

Density C_d(kappa) exp(kappa mu.x) with respect to surface measure on the unit sphere of R^d: Mardia
and Jupp 2000, Directional Statistics, section 9.3.2 (https://doi.org/10.1002/9780470316979).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints, register_kl

from vmf_embeddings.directional.bessel import (
    bessel_ratio,
    check_dim,
    cosine_variance,
    expansion,
    mean_cosine,
    widen,
)
from vmf_embeddings.directional.estimation import Array, fit_von_mises_fisher
from vmf_embeddings.directional.log_normalizer import log_normalizer, log_normalizer_difference
from vmf_embeddings.directional.sampler import sample as draw


class _UnitVector(constraints.Constraint):
    """Vectors of norm 1, within 1000 units of rounding of their dtype."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        tolerance = 1e3 * torch.finfo(value.dtype).eps
        return (torch.linalg.vector_norm(value, dim=-1) - 1).abs() < tolerance


unit_vector = _UnitVector()


class VonMisesFisher(Distribution):
    """Von Mises-Fisher distribution on the unit sphere of R^D, D >= 2.

    Args:
        loc: unit mean directions [.., D].
        concentration: kappa >= 0 [..], broadcasts against the leading axes of `loc`; 0 is uniform.
        validate_args: as for every torch distribution.

    >>> vmf = VonMisesFisher(torch.eye(3)[0], torch.tensor(5.0))
    >>> round(vmf.mean[0].item(), 6)
    0.800091
    """

    arg_constraints = {"loc": unit_vector, "concentration": constraints.nonnegative}
    support = unit_vector
    has_rsample = True

    def __init__(
        self, loc: Tensor, concentration: Tensor | float, validate_args: bool | None = None
    ) -> None:
        concentration = torch.as_tensor(concentration, dtype=loc.dtype, device=loc.device)
        self.dim = loc.shape[-1]
        check_dim(self.dim)
        batch_shape = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        self.loc = loc.expand(*batch_shape, self.dim)
        self.concentration = concentration.expand(batch_shape)
        super().__init__(batch_shape, torch.Size((self.dim,)), validate_args=validate_args)

    @classmethod
    def fit(cls, x: Array, weights: Array | None = None, **options: Any) -> "VonMisesFisher":
        """The distribution of largest likelihood; one for each class where there are `labels`.

        Args:
            x: vectors [.., N, D] of any length.
            weights: [.., N], >= 0; None = 1 for each row.
            options: `labels`, `n_classes`, `shared_kappa`, `bias_correction` and `kappa_max` of
                `fit_von_mises_fisher`, which says what happens at the limits.

        Raises:
            ValueError: see `fit_von_mises_fisher`.
        """
        mu, kappa = fit_von_mises_fisher(x, weights, **options)
        return cls(mu, kappa, validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> "VonMisesFisher":
        """The same distributions, expanded to `batch_shape`."""
        shape = torch.Size(batch_shape)
        loc, concentration = self.loc.expand(*shape, self.dim), self.concentration.expand(shape)
        return VonMisesFisher(loc, concentration, validate_args=False)

    def rsample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws [*sample_shape, *batch_shape, D] with gradients to `loc` and `concentration`."""
        shape = torch.Size(sample_shape)
        points = draw(self.loc, self.concentration, shape.numel(), generator=generator)
        return points.reshape(self._extended_shape(shape))

    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws [*sample_shape, *batch_shape, D] without gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape, generator)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats at unit vectors [.., D], with respect to surface measure."""
        if self._validate_args:
            self._validate_sample(value)
        # log C + kappa mu.x = (log C + kappa) - kappa (1 - mu.x), 1 - mu.x = |x - mu|^2 / 2: at
        # large kappa the two terms on the left are of the size of kappa and cancel
        kappa = widen(self.concentration)
        peak = log_normalizer(kappa, self.dim) + kappa
        versine = (value - self.loc).square().sum(-1) / 2
        return peak.to(value.dtype) - self.concentration * versine

    @property
    def mean(self) -> Tensor:
        """A(kappa) mu [*batch_shape, D], of norm < 1."""
        return mean_cosine(self.concentration, self.dim).unsqueeze(-1) * self.loc

    @property
    def mode(self) -> Tensor:
        """The mean direction mu [*batch_shape, D]."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Variance of each coordinate [*batch_shape, D]; the coordinates are correlated."""
        ratio, _ = bessel_ratio(widen(self.concentration).square(), expansion(self.dim))
        # covariance A / kappa (I - mu mu^T) + A' mu mu^T
        tangent_variance = ratio.to(self.loc.dtype).unsqueeze(-1)
        mu_variance = self.cosine_variance.unsqueeze(-1)
        return tangent_variance + (mu_variance - tangent_variance) * self.loc.square()

    @property
    def cosine_mean(self) -> Tensor:
        """Mean of mu.x, A(kappa) [*batch_shape]."""
        return mean_cosine(self.concentration, self.dim)

    @property
    def cosine_variance(self) -> Tensor:
        """Variance of mu.x, A'(kappa) [*batch_shape]."""
        return cosine_variance(self.concentration, self.dim)

    def entropy(self) -> Tensor:
        """Differential entropy in nats [*batch_shape]; at kappa = 0 the log area of the sphere."""
        kappa = widen(self.concentration)
        entropy = -log_normalizer(kappa, self.dim) - kappa * mean_cosine(kappa, self.dim)
        return entropy.to(self.concentration.dtype)


class HypersphericalUniform(Distribution):
    """Uniform distribution on the unit sphere of R^dim, dim >= 2.

    Args:
        dim: dimension of the ambient space.
        batch_shape: shape of independent copies.
        like: draws have its dtype and device; None = float32 (torch's default) on the CPU.
        validate_args: as for every torch distribution.

    >>> round(HypersphericalUniform(3).entropy().exp().item(), 4)  # 4 pi
    12.5664
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = unit_vector

    def __init__(
        self,
        dim: int,
        batch_shape: Sequence[int] = (),
        like: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        check_dim(dim)
        self.dim = dim
        self._like = torch.empty(0) if like is None else like.new_empty(0)
        super().__init__(torch.Size(batch_shape), torch.Size((dim,)), validate_args=validate_args)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> "HypersphericalUniform":
        """The same distribution, expanded to `batch_shape`."""
        return HypersphericalUniform(self.dim, batch_shape, self._like, validate_args=False)

    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws [*sample_shape, *batch_shape, dim]."""
        normals = self._like.new_empty(self._extended_shape(torch.Size(sample_shape)))
        normals.normal_(generator=generator)
        return normals / torch.linalg.vector_norm(normals, dim=-1, keepdim=True)

    def log_prob(self, value: Tensor) -> Tensor:
        """Minus the log area of the sphere, for unit vectors [.., dim]."""
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return -self.entropy().to(value.dtype).expand(shape)

    @property
    def mean(self) -> Tensor:
        """Zero [*batch_shape, dim]."""
        return self._like.new_zeros(self._extended_shape())

    @property
    def variance(self) -> Tensor:
        """1/dim for each coordinate [*batch_shape, dim]."""
        return self._like.new_full(self._extended_shape(), 1 / self.dim)

    def entropy(self) -> Tensor:
        """Log area of the sphere in nats [*batch_shape]."""
        return -log_normalizer(self._like.new_zeros(self.batch_shape), self.dim)


def _check_same_sphere(p_dim: int, q_dim: int) -> None:
    if p_dim != q_dim:
        raise ValueError(
            f"a divergence needs two distributions on the same sphere, got those of R^{p_dim} and "
            f"R^{q_dim}"
        )


@register_kl(VonMisesFisher, VonMisesFisher)
def _kl_vmf_vmf(p: VonMisesFisher, q: VonMisesFisher) -> Tensor:
    """KL = log C(kappa_p) - log C(kappa_q) + A(kappa_p) (kappa_p - kappa_q mu_p.mu_q)."""
    _check_same_sphere(p.dim, q.dim)
    first, second = widen(p.concentration), widen(q.concentration)
    # mu_p.mu_q = 1 - |mu_p - mu_q|^2 / 2, exactly 1 for equal directions
    cosine = 1 - (widen(p.loc) - widen(q.loc)).square().sum(-1) / 2
    squared = first.square()
    normalizers = log_normalizer_difference(squared, second.square() - squared, p.dim)
    kl = normalizers + mean_cosine(first, p.dim) * (first - second * cosine)
    return kl.to(p.concentration.dtype)


@register_kl(VonMisesFisher, HypersphericalUniform)
def _kl_vmf_uniform(p: VonMisesFisher, q: HypersphericalUniform) -> Tensor:
    _check_same_sphere(p.dim, q.dim)
    uniform = VonMisesFisher(p.loc, torch.zeros_like(p.concentration), validate_args=False)
    return _kl_vmf_vmf(p, uniform)


@register_kl(HypersphericalUniform, VonMisesFisher)
def _kl_uniform_vmf(p: HypersphericalUniform, q: VonMisesFisher) -> Tensor:
    _check_same_sphere(p.dim, q.dim)
    uniform = VonMisesFisher(q.loc, torch.zeros_like(q.concentration), validate_args=False)
    return _kl_vmf_vmf(uniform, q)
