"""The approximate Bessel ratio and log normalising constant of the vMF loss of 2021, to compare.

Scott, Gallagher, Mozer 2021, von Mises-Fisher Loss, eqs. 8, 10 and 12
(https://arxiv.org/abs/2103.15718): the mean of the bounds k / (a + sqrt(b^2 + k^2)) < A_d(k) < k /
(a + sqrt(a^2 + k^2)), a = (d-1)/2, b = (d+1)/2, of Ruiz-Antolin and Segura 2016
(https://arxiv.org/abs/1606.02008), and its antiderivative. The ratio is too high by up to 50 % at
d = 2, 25 % at d = 3, 0.4 % at d = 128. The exact functions: `bessel` and `log_normalizer`.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vmf_embeddings.directional.bessel import check_dim
from vmf_embeddings.directional.difference import blockwise_difference


def mean_cosine_approx(kappa: Tensor, dim: int) -> Tensor:
    """The paper's approximation of the mean cosine A_d(kappa).

    Args:
        kappa: concentration, >= 0, any float shape.
        dim: dimension of the ambient space, >= 2.

    Returns:
        In [0, 1), same shape and dtype.

    >>> round(mean_cosine_approx(torch.tensor(1.0), 3).item(), 6)  # exact: 0.313035
    0.361615
    """
    return 2 * kappa * _PaperBounds(dim).slope(kappa.square())


def log_normalizer_approx(kappa_squared: Tensor, dim: int) -> Tensor:
    """The paper's approximation of log C_d up to a constant, from the SQUARED concentration.

    Its magnitude is about kappa, so the difference of two values loses digits in float32: use
    `log_normalizer_difference_approx` for that.

    Args:
        kappa_squared: >= 0, any float shape.
        dim: dimension of the ambient space, >= 2.

    Returns:
        Same shape and dtype; d/d kappa equals -mean_cosine_approx exactly.

    >>> round(log_normalizer_approx(torch.zeros(1), 3).item(), 6)
    -0.60412
    """
    check_dim(dim)
    a, b = (dim - 1) / 2, (dim + 1) / 2
    value = torch.zeros_like(kappa_squared)
    for bound in (a, b):
        s = (kappa_squared + bound**2).sqrt()
        value = value + a * (s + a).log() - s
    return value / 2


@dataclass(frozen=True)
class _PaperBounds:
    """The approximation as a `difference.Kernel`.

    log C = sum over s in {sqrt(kappa^2 + a^2), sqrt(kappa^2 + b^2)} of (a log(s + a) - s) / 2
    """

    dim: int
    has_compiled_code: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_dim(self.dim)

    def compute_dtype(self, given: Tensor) -> torch.dtype:
        return torch.promote_types(given.dtype, torch.float32)

    def start(self, kappa_squared: Tensor) -> tuple[Tensor, ...]:
        a, b = (self.dim - 1) / 2, (self.dim + 1) / 2
        starts: list[Tensor] = []
        for bound in (a, b):
            base = kappa_squared + bound**2
            starts += [base, base.sqrt(), (base.sqrt() + a).reciprocal()]
        return tuple(starts)

    def difference(self, start: tuple[Tensor, ...], delta: Tensor) -> Tensor:
        a = (self.dim - 1) / 2
        parts = []
        for base, s1, inverse_sum in (start[:3], start[3:]):
            s_change = (base + delta).sqrt_().add_(s1).reciprocal_().mul_(delta)  # s2 - s1
            # (s2 - s1) - a log((s2 + a) / (s1 + a))
            parts.append(s_change.sub((s_change * inverse_sum).log1p_(), alpha=a))
        return parts[0].add_(parts[1]).mul_(0.5)

    def slope(self, kappa_squared: Tensor) -> Tensor:
        a, b = (self.dim - 1) / 2, (self.dim + 1) / 2
        upper = ((kappa_squared + a**2).sqrt() + a).reciprocal()
        lower = ((kappa_squared + b**2).sqrt() + a).reciprocal()
        return (upper + lower) / 4


def log_normalizer_difference_approx(kappa_squared: Tensor, delta: Tensor, dim: int) -> Tensor:
    """The paper's log C(k_1) - log C(k_2), k_2^2 = k_1^2 + delta, without cancellation.

    Equal to the difference of two `log_normalizer_approx`, but in float32 at d = 512 with an error
    of 1e-5 instead of 4e-4.

    Args:
        kappa_squared: >= 0, any float shape; fastest as [C] against delta [B, S, C].
        delta: >= -kappa_squared, broadcasts against `kappa_squared`, same dtype.
        dim: dimension of the ambient space, >= 2.

    Returns:
        Broadcast shape, same dtype; twice differentiable.

    >>> log_normalizer_difference_approx(torch.ones(2), torch.zeros(2), 8)
    tensor([0., 0.])
    """
    return blockwise_difference(kappa_squared, delta, _PaperBounds(dim))
