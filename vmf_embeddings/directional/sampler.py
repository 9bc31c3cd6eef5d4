"""Draws from the von Mises-Fisher distribution, exact at any kappa, with an unbiased gradient.

Wood 1994, Simulation of the von Mises Fisher distribution
(https://doi.org/10.1080/03610919408813161), rewritten in half-angles so that nothing cancels: with
b = (d-1) / (2 kappa + sqrt(4 kappa^2 + (d-1)^2)), x0 = (1-b)/(1+b), and x = cos(phi) a coordinate
of a UNIFORM point of the sphere, propose tan(theta/2) = sqrt(b) tan(phi/2) and accept with
log-probability (d-1) (v/(1+v) - log(1+v)), v = x0 x. kappa enters through b alone. In three
dimensions: inversion of the distribution function.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vmf_embeddings import threads
from vmf_embeddings.directional.bessel import check_dim
from vmf_embeddings.directional.constants import constant
from vmf_embeddings.directional.gradient import attach_kappa_gradient
from vmf_embeddings.directional.normals import compiles, new_seed
from vmf_embeddings.directional.power_spherical_angle import matched_concentration
from vmf_embeddings.directional.power_spherical_angle import sample_angle as power_angle
from vmf_embeddings.directional.reference_sampler import reference_cosine, reference_sample
from vmf_embeddings.directional.tangent import random_tangent_points
from vmf_embeddings.directional.uniform import sphere_coordinate_like, uniform_like

SAMPLERS = ("exact", "reference", "power")
ROUNDS = 30  # proposals per draw on devices; all are rejected with probability 0.34^30 = 1e-14
DEVICE_BLOCK = 2**20


def _draw(kappa: Tensor, dim: int, generator: torch.Generator | None) -> Tensor:
    """Angles [N] for kappa [N]: by inversion in three dimensions, else by rejection.

    On the CPU rejection repeats until all are accepted. On other devices synchronising after each
    round would cost more than the proposals: ROUNDS proposals are drawn at once, and where none is
    accepted (one angle in 10^14) the first is used.
    """
    if compiles(kappa):
        return _draw_compiled(kappa, dim, generator)
    if dim == 3:
        return _invert(kappa, generator)
    draw = _reject_until_accepted if kappa.device.type == "cpu" else _reject_at_once
    return draw(*_proposal(kappa, dim), dim, generator)


def _draw_compiled(kappa: Tensor, dim: int, generator: torch.Generator | None) -> Tensor:
    """`_draw` by compiled code."""
    from vmf_embeddings.directional.kernels import angle as kernel

    angle, seed = torch.empty_like(kappa), new_seed(generator)
    arrays = angle.numpy(), kappa.detach().numpy()

    def fill(first: int, end: int) -> None:
        if dim == 3:
            kernel.fill_angles_three(*arrays, seed, first, end)
        else:
            kernel.fill_angles(*arrays, dim, seed, first, end)

    threads.in_threads(fill, len(kappa), least=4096)
    return angle


def _proposal(kappa: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """sqrt(b) and x0 of the proposal, both of the shape of `kappa`."""
    least = constant(float(dim - 1) ** 2, kappa)
    root = torch.addcmul(least, kappa, kappa, value=4).sqrt_()
    b = torch.add(root, kappa, alpha=2).reciprocal_().mul_(dim - 1)
    return b.sqrt_(), torch.addcdiv(constant(0.0, kappa), kappa, root.add_(dim - 1), value=2)


def _propose(
    root_b: Tensor, x0: Tensor, dim: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Proposed angles, and whether each is rejected: at most 34 % are, for any kappa and dim."""
    x = sphere_coordinate_like(root_b, dim, generator)
    v = x0 * x
    # minus the log-probability over d - 1
    log_refuse = torch.addcdiv(v.log1p(), v, v + 1, value=-1)
    angle = (1 - x).div_(1 + x).sqrt_().mul_(root_b).atan_().mul_(2)
    return angle, log_refuse > uniform_like(x, generator).log_().div_(1 - dim)


def _reject_until_accepted(
    root_b: Tensor, x0: Tensor, dim: int, generator: torch.Generator | None
) -> Tensor:
    """Repeats the rejected proposals until none is left; NaN in kappa gives NaN, not a loop."""
    angle, rejected = _propose(root_b, x0, dim, generator)
    pending = rejected.nonzero().squeeze(-1)
    while len(pending):
        angle[pending], rejected = _propose(root_b[pending], x0[pending], dim, generator)
        pending = pending[rejected]
    return angle


def _reject_at_once(
    root_b: Tensor, x0: Tensor, dim: int, generator: torch.Generator | None
) -> Tensor:
    """Draws ROUNDS proposals for each angle and takes the first that is accepted."""
    columns = []
    for blocks in zip(root_b.split(DEVICE_BLOCK), x0.split(DEVICE_BLOCK), strict=True):
        proposals = (block.expand(ROUNDS, -1) for block in blocks)
        angle, rejected = _propose(*proposals, dim, generator)
        first = rejected.view(torch.uint8).argmin(0, keepdim=True)
        columns.append(angle.gather(0, first).squeeze(0))
    return columns[0] if len(columns) == 1 else torch.cat(columns)


def _invert(kappa: Tensor, generator: torch.Generator | None) -> Tensor:
    """Angles [N] in three dimensions, where the cosine is exponentially distributed on [-1, 1].

    1 - cos(theta) = -log(1 + u expm1(-2 kappa)) / kappa for uniform u in [0, 1)
    """
    kappa = kappa.clamp_min(1e-20)  # the limit of kappa = 0, a uniform cosine, is reached here
    log = (-2 * kappa).expm1_().mul_(uniform_like(kappa, generator)).log1p_()
    return log.div_(kappa).div_(-2).clamp_max_(1).sqrt_().asin_().mul_(2)


def sample_angle(
    kappa: Tensor,
    dim: int,
    shape: int | Sequence[int] = (),
    *,
    gradient: bool = True,
    sampler: str = "exact",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Angles between von Mises-Fisher draws and their mean direction.

    The angle, unlike its cosine, keeps full relative precision at large kappa.

    Args:
        kappa: concentrations, >= 0, any shape [..]; 0 is the uniform distribution.
        dim: dimension of the ambient space, >= 2.
        shape: shape of draws for each concentration, put before the shape of `kappa`.
        gradient: attach the implicit-reparameterisation gradient with respect to `kappa`.
        sampler: "exact", or "power" for the power spherical distribution of the same mean cosine.
        generator: source of randomness, on the device of `kappa`; None = the global one.

    Returns:
        [*shape, ..] in [0, pi], dtype of `kappa`.

    >>> sample_angle(torch.full((2,), 1e6), 3, 5).shape
    torch.Size([5, 2])
    """
    check_dim(dim)
    lead = (shape,) if isinstance(shape, int) else tuple(shape)
    compute = torch.promote_types(kappa.dtype, torch.float32)
    if sampler == "power":
        with torch.set_grad_enabled(gradient and torch.is_grad_enabled()):
            power = matched_concentration(kappa.to(compute), dim).expand(*lead, *kappa.shape)
            return power_angle(power, dim, generator).to(kappa.dtype)
    with torch.no_grad():
        flat = kappa.to(compute).expand(*lead, *kappa.shape).reshape(-1)
        angle = _draw(flat, dim, generator).reshape(*lead, *kappa.shape)
    if gradient and kappa.requires_grad and torch.is_grad_enabled():
        angle = attach_kappa_gradient(angle, kappa, dim)
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
        shape: shape of draws for each concentration, put before the shape of `kappa`.
        gradient: let gradients flow to `kappa` (implicit reparameterisation but for "reference").
        sampler: "exact"; "power", see `sample`; or "reference" for that of 2021, which is wrong for
            kappa > 10.
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
    known = {"gradient": gradient, "sampler": sampler, "generator": generator}
    return sample_angle(kappa, dim, shape, **known).cos()


def sample(
    mu: Tensor,
    kappa: Tensor,
    n_samples: int,
    *,
    gradient: bool = True,
    sampler: str = "exact",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Unit vectors drawn from von Mises-Fisher distributions, reparameterised.

    The gradient reaches `kappa` through the angle (implicit reparameterisation) and `mu` through
    the tangent direction; it is an unbiased estimate of the gradient of an expectation. On the CPU
    the same seed gives other draws with compiled code (Numba) than without, from the same
    distribution.

    Args:
        mu: unit mean directions [.., D]; not checked (a zero vector is fine where kappa is 0 and
            gives tangent directions only).
        kappa: concentrations [..], >= 0, broadcasts against the leading axes of `mu`.
        n_samples: draws from each distribution, S.
        gradient: let gradients flow to `mu` and `kappa`.
        sampler: "exact", or "reference": draws and biased gradient of 2021, to reproduce its
            results only; WRONG for kappa > 10 unless kappa >> D (draws may point away from mu); or
            "power": draws and exact gradient of the power spherical distribution of the same mean,
            without rejection, within 0.039 nats of the von Mises-Fisher one in two dimensions and
            0.009 in 128 (De Cao and Aziz 2020, https://arxiv.org/abs/2006.04437).
        generator: source of randomness, on the device of `mu`; None = the global one.

    Returns:
        Unit vectors [S, .., D], dtype of `mu`.

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
        angle = sample_angle(
            kappa.reshape(-1).to(compute), dim, n_samples, sampler=sampler, generator=generator
        )
        points = random_tangent_points(angle, flat_mu, generator)
        return points.reshape(n_samples, *mu.shape).to(mu.dtype)


def _check_sampler(sampler: str) -> None:
    """Raises ValueError for an unknown sampler."""
    if sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {sampler!r}; known: {', '.join(SAMPLERS)}")
