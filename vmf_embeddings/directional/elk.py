"""How alike two von Mises-Fisher distributions are: expected likelihood, Bhattacharyya, divergence.

Jebara, Kondor, Howard 2004, "Probability Product Kernels", https://www.jmlr.org/papers/v5/jebara04a
.html: the integral of p^rho q^rho over the sphere; rho = 1 is the expected likelihood, rho = 1/2
the Bhattacharyya coefficient. For p and q with parameters z = kappa_z mu_z and w = kappa_w mu_w it
has a closed form, for p^rho q^rho is exp(rho (z + w).x) up to a factor:

    log integral = rho (log C(|z|) + log C(|w|)) - log C(rho |z + w|)

Kirchhof et al. 2022, https://arxiv.org/abs/2207.03784, compare embeddings with it.
"""

import torch
from torch import Tensor

from vmf_embeddings.directional.bessel import bessel_ratio, expansion, widen
from vmf_embeddings.directional.log_normalizer import log_normalizer, log_normalizer_difference


def log_elk(z: Tensor, w: Tensor) -> Tensor:
    """Log expected likelihood kernel, log integral p_z(x) p_w(x) dx, of every pair in nats.

    log C(|z|) + log C(|w|) - log C(|z + w|): the log of the density that one distribution has, on
    average, at draws from the other. A pair with kappa 0 has minus the log area of the sphere; for
    kappa_w to infinity it is log p_z(mu_w). As terms of the size of kappa are added, the absolute
    error is about 1e-15 kappa in float64 and 2e-7 kappa in float32.

    Args:
        z: kappa times mu of B distributions [.., B, D], D >= 2, any length; 0 is uniform.
        w: the same of C distributions [.., C, D], same dtype; leading axes broadcast.

    Returns:
        [.., B, C], same dtype; twice differentiable. Larger = more alike, but the largest value of
        a z is at an infinitely concentrated w of its direction, not at w = z.

    >>> z = torch.tensor([[20.0, 0.0, 0.0]])
    >>> w = torch.tensor([[20.0, 0.0, 0.0], [0.0, 20.0, 0.0], [0.0, 0.0, 0.0]])
    >>> log_elk(z, w)  # the last is minus the log area, log 4 pi
    tensor([[  0.4647, -10.9044,  -2.5310]])
    """
    of_z = _log_normalizer(z).unsqueeze(-1)
    return (of_z + relative_log_elk(z, w)).to(z.dtype)


def relative_log_elk(z: Tensor, w: Tensor) -> Tensor:
    """`log_elk` less log C(|z|), which all w share: log C(|w|) - log C(|z + w|), [.., B, C].

    One difference without cancellation, absolute error as of `log_normalizer_difference`: the same
    softmax over classes w as `log_elk`, and exact in float32.

    Args:
        z: [.., B, D].
        w: [.., C, D].

    >>> round(relative_log_elk(torch.tensor([[9.0, 0.0]]), torch.zeros(1, 2)).item(), 4)
    6.9972
    """
    squared = w.square().sum(-1).unsqueeze(-2)
    delta = z.square().sum(-1, keepdim=True) + 2 * z @ w.mT  # |z + w|^2 - |w|^2
    # rounding may leave |z + w|^2 below 0 where w is -z
    return log_normalizer_difference(squared, torch.maximum(delta, -squared), w.shape[-1])


def log_bhattacharyya(z: Tensor, w: Tensor) -> Tensor:
    """Log Bhattacharyya coefficient, log integral sqrt(p_z(x) p_w(x)) dx, of every pair in nats.

    With m = |z + w| / 2, it is the mean of log C(|z|) - log C(m) and log C(|w|) - log C(m).

    Args:
        z: kappa times mu [.., B, D], D >= 2.
        w: kappa times mu [.., C, D], same dtype.

    Returns:
        [.., B, C] <= 0 up to rounding, 0 where z = w; twice differentiable.

    >>> z = torch.tensor([[20.0, 0.0, 0.0], [0.0, 20.0, 0.0]])
    >>> log_bhattacharyya(z, z).round(decimals=3) + 0.0
    tensor([[ 0.0000, -5.5110],
            [-5.5110,  0.0000]])
    """
    of_z, of_w = z.square().sum(-1).unsqueeze(-1), w.square().sum(-1).unsqueeze(-2)
    dots, dim = z @ w.mT, w.shape[-1]
    middle = ((of_z + of_w + 2 * dots) / 4).clamp_min(0)  # m^2; rounding may leave it below 0
    from_w = log_normalizer_difference(of_w, middle - of_w, dim)
    from_z = log_normalizer_difference(of_z.mT, (middle - of_z).mT, dim).mT  # |z| in the last axis
    return (from_w + from_z) / 2


def kl_divergence(z: Tensor, w: Tensor) -> Tensor:
    """Kullback-Leibler divergence KL(p_z || p_w) of every pair in nats.

    log C(|z|) - log C(|w|) + A(|z|) (|z| - |w| cos), A / kappa finite at kappa = 0.
    `torch.distributions.kl_divergence` takes two `VonMisesFisher` instead.

    Args:
        z: kappa times mu [.., B, D], D >= 2.
        w: kappa times mu [.., C, D], same dtype.

    Returns:
        [.., B, C] >= 0 up to rounding, 0 where z = w; differentiable.

    >>> z = torch.tensor([[20.0, 0.0, 0.0], [0.0, 20.0, 0.0]])
    >>> kl_divergence(z, z)
    tensor([[ 0., 19.],
            [19.,  0.]])
    """
    of_z, of_w = z.square().sum(-1).unsqueeze(-1), w.square().sum(-1).unsqueeze(-2)
    dots, dim = z @ w.mT, w.shape[-1]
    minus_normalizers = log_normalizer_difference(of_w, of_z - of_w, dim)  # log C(|w|) - log C(|z|)
    ratio = bessel_ratio(widen(of_z), expansion(dim))[0].to(z.dtype)  # A(|z|) / |z|
    return ratio * (of_z - dots) - minus_normalizers


def expected_log_density(z: Tensor, w: Tensor) -> Tensor:
    """Mean log density of w over draws from z, relative to the uniform distribution, in nats.

    E log p_w(x) - log C(0) = log C(|w|) - log C(0) + A(|z|) / |z| z.w, x from p_z: minus
    `kl_divergence` up to a term of z, so that both have the same softmax over w.

    Args:
        z: [.., B, D], D >= 2.
        w: [.., C, D], same dtype.

    Returns:
        [.., B, C], same dtype; differentiable.

    >>> z, w = torch.tensor([[20.0, 0.0, 0.0]]), 20 * torch.eye(3)[:2]
    >>> expected_log_density(z, w) + kl_divergence(z, w)
    tensor([[2.6889, 2.6889]])
    """
    of_z = torch.linalg.vector_norm(z, dim=-1, keepdim=True).square()
    of_w = torch.linalg.vector_norm(w, dim=-1).square().unsqueeze(-2)
    ratio = bessel_ratio(widen(of_z), expansion(z.shape[-1]))[0].to(z.dtype)  # A(|z|) / |z|
    return (ratio * z) @ w.mT - log_normalizer_difference(of_w.new_zeros(1), of_w, w.shape[-1])


def _log_normalizer(z: Tensor) -> Tensor:
    """Value log C(|z|) for vectors [.., D] in float64, smooth in z at 0."""
    q, dim = widen(z).square().sum(-1), z.shape[-1]
    uniform = log_normalizer(torch.zeros_like(q), dim)
    return uniform - log_normalizer_difference(torch.zeros_like(q), q, dim)
