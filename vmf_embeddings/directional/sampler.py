"""Draws from the von Mises-Fisher distribution, exact at any kappa, with an unbiased gradient.

Wood 1994, Simulation of the von Mises Fisher distribution
(https://doi.org/10.1080/03610919408813161), rewritten in half-angles so that nothing cancels: with
b = (d-1) / (2 kappa + sqrt(4 kappa^2 + (d-1)^2)), x0 = (1-b)/(1+b), and x = cos(phi) a coordinate
of a UNIFORM point, propose tan(theta/2) = sqrt(b) tan(phi/2) and accept with log-probability
(d-1) (v/(1+v) - log(1+v)), v = x0 x. kappa enters through b alone. Three dimensions: inverse
distribution function.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vmf_embeddings.directional.bessel import check_dim
from vmf_embeddings.directional.gradient import attach_gradient
from vmf_embeddings.directional.reference_sampler import reference_cosine, reference_sample
from vmf_embeddings.directional.tangent import tangent_points
from vmf_embeddings.directional.uniform import sphere_coordinate_like, uniform_like

SAMPLERS = ("exact", "reference")


def _reject(kappa: Tensor, dim: int, generator: torch.Generator | None) -> Tensor:
    """Angles [N] for kappa [N]; at least 66 % of the proposals are accepted in any case."""
    m = dim - 1
    root = (4 * kappa.square() + m**2).sqrt()
    root_b = (m / (root + 2 * kappa)).sqrt()
    mode = 2 * kappa / (root + m)
    angle = torch.empty_like(kappa)
    pending = torch.arange(len(kappa), device=kappa.device)
    while len(pending):
        x = sphere_coordinate_like(root_b, dim, generator)
        v = mode * x
        log_accept = m * (v / (1 + v) - v.log1p())
        angle[pending] = 2 * (root_b * ((1 - x) / (1 + x)).sqrt()).atan()
        rejected = (log_accept < uniform_like(x, generator).log()).nonzero().squeeze(-1)
        pending, root_b, mode = pending[rejected], root_b[rejected], mode[rejected]
    return angle


def _invert(kappa: Tensor, generator: torch.Generator | None) -> Tensor:
    """Angles [N] in three dimensions, where the cosine has an exponential law on [-1, 1]."""
    kappa = kappa.clamp_min(1e-20)  # the limit of kappa = 0, a uniform cosine, is reached here
    versine = -(uniform_like(kappa, generator) * torch.expm1(-2 * kappa)).log1p_() / kappa
    return 2 * (versine / 2).clamp_max(1).sqrt().asin()


def sample_angle(
    kappa: Tensor,
    dim: int,
    shape: int | Sequence[int] = (),
    *,
    gradient: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Angles between von Mises-Fisher draws and their mean direction.

    The angle, unlike its cosine, keeps full relative precision at large kappa.

    Args:
        kappa: concentrations, >= 0, any shape [..]; 0 is the uniform law.
        dim: dimension of the ambient space, >= 2.
        shape: how many draws of each, prepended to the shape of `kappa`.
        gradient: attach the implicit-reparameterisation gradient with respect to `kappa`.
        generator: source of randomness, on the device of `kappa`; None = the global one.

    Returns:
        [*shape, ..] in [0, pi], dtype of `kappa`.

    >>> sample_angle(torch.full((2,), 1e6), 3, 5).shape
    torch.Size([5, 2])
    """
    check_dim(dim)
    lead = (shape,) if isinstance(shape, int) else tuple(shape)
    compute = torch.promote_types(kappa.dtype, torch.float32)
    with torch.no_grad():
        flat = kappa.to(compute).expand(*lead, *kappa.shape).reshape(-1)
        angle = _invert(flat, generator) if dim == 3 else _reject(flat, dim, generator)
        angle = angle.reshape(*lead, *kappa.shape)
    if gradient and kappa.requires_grad and torch.is_grad_enabled():
        angle = attach_gradient(angle, kappa, dim)
    return angle.to(kappa.dtype)


def sample_cosine(
    kappa: Tensor,
    dim: int,
    shape: int | Sequence[int] = (),
    *,
    gradient: bool = True,
    sampler: str = "exact",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Cosines mu.x of von Mises-Fisher draws x, without the vectors.

    Args:
        kappa: concentrations, >= 0, any shape [..].
        dim: dimension of the ambient space, >= 2.
        shape: how many draws of each, prepended to the shape of `kappa`.
        gradient: let gradients flow to `kappa` (implicit for "exact").
        sampler: "exact", or "reference" for 2021's, which is wrong above kappa = 10.
        generator: source of randomness; None = the global one.

    Returns:
        [*shape, ..] in [-1, 1], dtype of `kappa`.

    >>> rng = torch.Generator().manual_seed(0)
    >>> t = sample_cosine(torch.tensor(60.0), 128, 50_000, generator=rng)
    >>> abs(t.mean().item() - 0.396055) < 0.002
    True
    """
    _check_sampler(sampler)
    if sampler == "reference":
        lead = (shape,) if isinstance(shape, int) else tuple(shape)
        expanded = kappa.expand(*lead, *kappa.shape)
        cosine = reference_cosine(expanded, dim, generator=generator)
        return cosine if gradient else cosine.detach()
    return sample_angle(kappa, dim, shape, gradient=gradient, generator=generator).cos()


def sample(
    mu: Tensor,
    kappa: Tensor,
    n_samples: int,
    *,
    gradient: bool = True,
    sampler: str = "exact",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Unit vectors drawn from von Mises-Fisher laws, reparameterised.

    The gradient reaches `kappa` through the angle (implicit reparameterisation) and `mu` through
    the tangent frame; E over draws of it is the gradient of the expectation.

    Args:
        mu: unit mean directions [.., D]; not checked (a zero vector is fine where kappa is 0 and
            gives tangent directions only).
        kappa: concentrations [..], >= 0, broadcasts against the leading axes of `mu`.
        n_samples: draws of each law, S.
        gradient: let gradients flow to `mu` and `kappa`.
        sampler: "exact", or "reference": 2021's draws and 2021's biased gradient, for parity runs
            only; WRONG for kappa > 10 unless kappa >> D (they even point away from mu).
        generator: source of randomness, on the device of `mu`; None = the global one.

    Returns:
        [S, .., D], dtype of `mu`, rows of length 1.

    >>> mu = torch.nn.functional.normalize(torch.ones(2, 8), dim=-1)
    >>> sample(mu, torch.tensor([0.0, 700.0]), 5).shape
    torch.Size([5, 2, 8])
    """
    _check_sampler(sampler)
    if kappa.shape != mu.shape[:-1]:
        kappa = kappa.expand(mu.shape[:-1])
    with torch.set_grad_enabled(gradient and torch.is_grad_enabled()):
        if sampler == "reference":
            return reference_sample(mu, kappa, n_samples, generator=generator)
        dim = mu.shape[-1]
        compute = torch.promote_types(mu.dtype, torch.float32)
        flat_mu = mu.reshape(-1, dim).to(compute)
        angle = sample_angle(kappa.reshape(-1).to(compute), dim, n_samples, generator=generator)
        normals = torch.empty(n_samples, *flat_mu.shape, dtype=compute, device=mu.device)
        points = tangent_points(angle, flat_mu, normals.normal_(generator=generator))
        return points.reshape(n_samples, *mu.shape).to(mu.dtype)


def _check_sampler(sampler: str) -> None:
    if sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {sampler!r}; known: {', '.join(SAMPLERS)}")
