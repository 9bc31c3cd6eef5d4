"""The two steps of the EM algorithm for mixtures of von Mises-Fisher distributions.

Banerjee et al. 2005, Clustering on the Unit Hypersphere using von Mises-Fisher Distributions
(https://jmlr.org/papers/v6/banerjee05a.html), with exact concentrations:

    E: p_nk = softmax_k (log w_k + log C(kappa_k) + kappa_k mu_k.x_n), or 1 at the largest (hard)
    M: S_k = sum_n p_nk x_n, n_k = sum_n p_nk, w_k = n_k / N, mu_k = S_k / |S_k|,
       kappa_k = A_D^-1(|S_k| / n_k)
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings import native
from vmf_embeddings.directional import mixture_compiled
from vmf_embeddings.directional.estimation import concentration, directions
from vmf_embeddings.directional.log_normalizer import log_normalizer

CPU_BLOCK = 2**17  # responsibilities at a time; in float32 they take half a MiB
DEVICE_BLOCK = 2**26


@dataclass(frozen=True)
class MixtureParameters:
    """Weights [K], which add up to 1, unit directions [K, D] and concentrations [K], in float64."""

    weights: Tensor
    mu: Tensor
    kappa: Tensor

    def coefficients(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Offsets b [K] and kappa_k mu_k [K, D], for log w_k p_k(x) = b_k + kappa_k mu_k.x."""
        bias = self.weights.log() + log_normalizer(self.kappa, self.mu.shape[1])
        return bias.to(dtype), (self.kappa[:, None] * self.mu).to(dtype)

    def joint_log_density(self, x: Tensor) -> Tensor:
        """Joint log densities log w_k p_k(x_n) [N, K] in nats, for unit vectors [N, D]."""
        bias, vectors = self.coefficients(x.dtype)
        return torch.addmm(bias, x, vectors.T)


@dataclass(frozen=True)
class Statistics:
    """What the M step needs of rows.

    Attributes:
        sums: S_k [K, D] in float64.
        totals: n_k [K] in float64.
        log_density: [N] log sum_k w_k p_k(x_n); with hard assignments the largest log w_k p_k(x_n).
    """

    sums: Tensor
    totals: Tensor
    log_density: Tensor


@dataclass(frozen=True)
class Constraints:
    """What the M step leaves fixed or equal.

    Attributes:
        shared_kappa: one concentration for all components.
        kappa: this concentration in place of an estimate; None = estimated.
        equal_weights: every component has weight 1/K.
        kappa_max: largest concentration.
    """

    shared_kappa: bool
    kappa: float | None
    equal_weights: bool
    kappa_max: float


def blocks(x: Tensor, n_components: int) -> Iterator[slice]:
    """Slices of rows whose responsibilities fit a fixed memory, whatever N and K are."""
    size = CPU_BLOCK if x.device.type == "cpu" else DEVICE_BLOCK
    step = min(max(size // n_components, 64), 2**14 if x.device.type == "cpu" else 2**20)
    return (slice(first, first + step) for first in range(0, len(x), step))


def expectation(
    x: Tensor, parameters: MixtureParameters, weights: Tensor | None, hard: bool
) -> Statistics:
    """The E step, with memory for one block of rows only.

    Args:
        x: unit vectors [N, D].
        parameters: of the mixture.
        weights: of the rows [N], in the dtype of `x`; None = 1.
        hard: each row counts for its most probable component alone.
    """
    bias, vectors = parameters.coefficients(x.dtype)
    if x.device.type == "cpu" and native.enabled(len(x) * len(bias)):
        return Statistics(*mixture_compiled.statistics(x, bias, vectors, weights, hard))
    sums, totals = torch.zeros_like(parameters.mu), torch.zeros_like(parameters.weights)
    log_density = x.new_empty(len(x))
    add = _add_hard if hard else _add_soft
    for block in blocks(x, len(bias)):
        own = None if weights is None else weights[block]
        joint = torch.addmm(bias, x[block], vectors.T)
        log_density[block] = add(joint, x[block], own, sums, totals)
    return Statistics(sums, totals, log_density)


def _add_soft(
    joint: Tensor, x: Tensor, weights: Tensor | None, sums: Tensor, totals: Tensor
) -> Tensor:
    """Adds the statistics of a block; overwrites `joint` [B, K]; returns log densities [B]."""
    largest = joint.amax(1, keepdim=True)
    scale = joint.sub_(largest).exp_().sum(1, keepdim=True)
    responsibilities = joint.div_(scale if weights is None else scale / weights[:, None])
    sums += responsibilities.T @ x
    totals += responsibilities.sum(0)
    return (largest + scale.log()).squeeze(1)


def _add_hard(
    joint: Tensor, x: Tensor, weights: Tensor | None, sums: Tensor, totals: Tensor
) -> Tensor:
    """As `_add_soft` with each row assigned to its most probable component."""
    largest, component = joint.max(1)
    rows = x if weights is None else x * weights[:, None]
    of_block = torch.zeros_like(sums, dtype=x.dtype)
    sums += of_block.scatter_add_(0, component[:, None].expand_as(rows), rows)
    own = None if weights is None else weights.double()
    totals += torch.bincount(component, own, minlength=len(totals))
    return largest


def maximization(sums: Tensor, totals: Tensor, constraints: Constraints) -> MixtureParameters:
    """The M step: the parameters of largest likelihood under given responsibilities.

    A component without rows gets weight 0 and the uniform distribution.

    Args:
        sums: S_k [K, D] in float64.
        totals: n_k [K] in float64.
        constraints: what is not estimated.
    """
    dim = sums.shape[1]
    mu, lengths = directions(sums)
    if constraints.equal_weights:
        weights = torch.full_like(totals, 1 / len(totals))
    else:
        weights = totals / totals.sum()
    if constraints.kappa is not None:
        kappa = torch.full_like(totals, constraints.kappa)
    elif constraints.shared_kappa:
        kappa = concentration(lengths.sum(), totals.sum(), dim, constraints.kappa_max)
        kappa = kappa.expand_as(totals)
    else:
        safe = torch.where(totals > 0, totals, 1.0)
        kappa = concentration(lengths, safe, dim, constraints.kappa_max)
    return MixtureParameters(weights, mu, kappa)


def reseed(
    found: Statistics, x: Tensor, weights: Tensor | None, empty: Tensor
) -> tuple[Tensor, Tensor]:
    """Sums and totals in which empty components hold the rows of the lowest density.

    Such a component gets the mean weight of all components and the mean resultant length of the
    others, so that it takes over the rows around: alone on its row it would stay there.

    Args:
        found: statistics of the E step.
        x: unit vectors [N, D].
        weights: of the rows [N]; None = 1.
        empty: bool [K].
    """
    log_density = found.log_density
    if weights is not None:
        log_density = log_density.masked_fill(weights == 0, torch.inf)
    n_empty = min(int(empty.sum()), len(x))
    rows = log_density.topk(n_empty, largest=False).indices
    places = empty.nonzero().flatten()[:n_empty]
    kept = found.totals[~empty].sum()
    lengths = torch.linalg.vector_norm(found.sums[~empty], dim=1).sum()
    sums, totals = found.sums.clone(), found.totals.clone()
    sums[places] = x[rows].double() * (lengths / len(empty))
    totals[places] = kept / len(empty)
    return sums, totals
