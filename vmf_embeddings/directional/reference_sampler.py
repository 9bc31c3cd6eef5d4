"""The vMF sampler of 2021, to reproduce its results only: WRONG for kappa > 10 unless kappa >> d.

Scott, Gallagher, Mozer 2021 (https://arxiv.org/abs/2103.15718) drew with the sampler of Davidson et
al. 2018, Hyperspherical Variational Auto-Encoders (https://arxiv.org/abs/1804.00891). Between
kappa = 10 and 11 it replaces Wood's b by (d-1)/(4 kappa), accurate only for kappa far above d,
while the acceptance test assumes the exact b: for 11 < kappa < (d-1)/4 its draws point AWAY from
mu, and at d = 128, kappa = 60 their mean cosine is 0.305 instead of 0.396. Its gradient ignores the
rejection step. In three dimensions it is right. Use `sampler.sample` instead.
"""

import math

import torch
from torch import Tensor

from vmf_embeddings.directional.bessel import check_dim
from vmf_embeddings.directional.uniform import sample_sphere_coordinate

EPSILON = 1e-7  # as in 2021: smallest value of 1 - w^2 and of |e1 - mu|; a bias at very large kappa


def reference_b(kappa: Tensor, dim: int) -> Tensor:
    """2021's b: exact up to kappa = 10, (d-1)/(4 kappa) from 11 on, blended between.

    Args:
        kappa: concentration, > 0.
        dim: dimension of the ambient space, >= 2.

    Returns:
        Same shape.

    >>> reference_b(torch.tensor([12.0]), 128)  # a valid b never exceeds 1
    tensor([2.6458])
    """
    m = dim - 1
    exact = (-2 * kappa + (4 * kappa.square() + m**2).sqrt()) / m
    weight = (kappa - 10).clamp(0, 1)
    return m / (4 * kappa) * weight + exact * (1 - weight)


def reference_proposal(kappa: Tensor, beta_draws: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """2021's proposed cosine for given Beta((d-1)/2, (d-1)/2) draws, and its log acceptance ratio.

    Args:
        kappa: concentration, > 0, any shape.
        beta_draws: in (0, 1), broadcasts against `kappa`.
        dim: dimension of the ambient space, >= 2.

    Returns:
        w in [-1, 1] and the log acceptance ratio; it exceeds 0 where the proposal density does not
        bound the target, as a correct rejection sampler requires.

    >>> w, log_ratio = reference_proposal(torch.tensor(5.0), torch.tensor(0.5), 10)
    >>> round(w.item(), 4), bool(log_ratio <= 0)
    (0.4454, True)
    """
    m = dim - 1
    b = reference_b(kappa, dim)
    a = (m + 2 * kappa + (4 * kappa.square() + m**2).sqrt()) / 4
    w = (1 - (1 + b) * beta_draws) / (1 - (1 - b) * beta_draws)
    t = 2 * a * b / (1 - (1 - b) * beta_draws)
    offset = 4 * a * b / (1 + b) - m * math.log(m)
    return w, m * t.log() - t + offset


def householder_transform(w: Tensor, normals: Tensor, mu: Tensor) -> Tensor:
    """Unit vectors with given cosines to mu: built around e1, then reflected to mu, as in 2021.

    Args:
        w: cosines [..] in [-1, 1].
        normals: Gaussian vectors [.., D], whose first entry is not used.
        mu: unit directions [.., D]; broadcasts.

    Returns:
        [.., D]; a differentiable function of `w` and `mu`.

    >>> householder_transform(torch.ones(1), torch.ones(1, 3), torch.eye(3)[2:])
    tensor([[2.2364e-04, 2.2361e-04, 1.0000e+00]])
    """
    v = normals[..., 1:]
    v = v / torch.linalg.vector_norm(v, dim=-1, keepdim=True)
    w = w.unsqueeze(-1)
    x = torch.cat((w, (1 - w.square()).clamp_min(EPSILON).sqrt() * v), dim=-1)
    e1 = torch.zeros_like(mu)
    e1[..., 0] = 1
    u = e1 - mu
    u = u / torch.linalg.vector_norm(u, dim=-1, keepdim=True).clamp_min(EPSILON)
    return x - 2 * (x * u).sum(-1, keepdim=True) * u


def _accepted_beta(kappa: Tensor, dim: int, generator: torch.Generator | None) -> Tensor:
    """Beta draws [N] accepted by the test of 2021, for kappa [N]; both float64, no gradient."""

    def coordinates(count: int) -> Tensor:
        return sample_sphere_coordinate(
            count, dim, dtype=torch.float64, device=kappa.device, generator=generator
        )

    draws = torch.empty_like(kappa)
    pending = torch.arange(len(kappa), device=kappa.device)
    while len(pending):
        draws[pending] = (1 + coordinates(len(pending))) / 2
        log_ratio = reference_proposal(kappa[pending], draws[pending], dim)[1]
        uniform = torch.rand(
            len(pending), dtype=torch.float64, device=kappa.device, generator=generator
        )
        pending = pending[log_ratio < uniform.log()]
    return draws


def reference_cosine(
    kappa: Tensor, dim: int, *, generator: torch.Generator | None = None
) -> Tensor:
    """Cosines mu.x drawn as in 2021, with the gradient of the accepted proposal (biased).

    Args:
        kappa: concentrations, > 0, any shape: one draw each.
        dim: dimension of the ambient space, >= 2.
        generator: source of randomness; None = the global one.

    Returns:
        Shape and dtype of `kappa`.

    >>> reference_cosine(torch.full((4,), 5.0), 8).shape
    torch.Size([4])
    """
    check_dim(dim)
    if dim == 3:
        u = torch.rand(kappa.shape, dtype=kappa.dtype, device=kappa.device, generator=generator)
        logs = torch.stack((u.log(), (1 - u).log() - 2 * kappa))
        return 1 + logs.logsumexp(0) / kappa
    wide = kappa.double()
    with torch.no_grad():
        draws = _accepted_beta(wide.reshape(-1), dim, generator).reshape(kappa.shape)
    return reference_proposal(wide, draws, dim)[0].to(kappa.dtype)


def reference_sample(
    mu: Tensor, kappa: Tensor, n_samples: int, *, generator: torch.Generator | None = None
) -> Tensor:
    """Unit vectors drawn as in 2021; see the warning at the head of this file.

    Args:
        mu: unit mean directions [.., D].
        kappa: concentrations [..], > 0.
        n_samples: draws from each distribution, S.
        generator: source of randomness; None = the global one.

    Returns:
        [S, .., D], dtype of `mu`.

    >>> reference_sample(torch.eye(2, 5), torch.full((2,), 5.0), 3).shape
    torch.Size([3, 2, 5])
    """
    w = reference_cosine(kappa.expand(n_samples, *kappa.shape), mu.shape[-1], generator=generator)
    normals = torch.empty(n_samples, *mu.shape, dtype=mu.dtype, device=mu.device)
    return householder_transform(w, normals.normal_(generator=generator), mu)
