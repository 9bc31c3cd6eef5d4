"""Fitting mixtures of von Mises-Fisher distributions: starts, steps, and when they end."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vmf_embeddings.directional.estimation import Array
from vmf_embeddings.directional.mixture_rows import unit_rows
from vmf_embeddings.directional.mixture_steps import (
    Constraints,
    MixtureParameters,
    Statistics,
    expectation,
    maximization,
    reseed,
)
from vmf_embeddings.directional.seeding import spherical_kmeans_plus_plus

MAX_RESEEDS = 10  # per start: rows of which fewer than K differ would never end
LEAST_ROWS = 1e-3  # a component with less than this part of a row is empty
FORGETTING = 0.6  # step sizes (t + 1)^-0.6 of mini-batches, Cappe and Moulines 2009


@dataclass(frozen=True)
class Rows:
    """Unit vectors [N, D] and their weights [N], in the same dtype; None = 1."""

    x: Tensor
    weights: Tensor | None

    def part(self, rows: Tensor) -> "Rows":
        """The rows of these numbers."""
        return Rows(self.x[rows], None if self.weights is None else self.weights[rows])

    @property
    def total(self) -> float:
        """Sum of the weights."""
        return len(self.x) if self.weights is None else float(self.weights.double().sum())

    def mean(self, values: Tensor) -> float:
        """Weighted mean of values [N]."""
        if self.weights is None:
            return float(values.double().mean())
        return float((values.double() * self.weights).sum() / self.total)


@dataclass(frozen=True)
class Settings:
    """How a mixture is fitted; see `VonMisesFisherMixture`."""

    n_components: int
    hard: bool
    constraints: Constraints
    init: str | Array
    init_kappa: float | None
    max_iter: int
    tol: float
    mini_batch: int | None
    generator: torch.Generator | None


@dataclass
class Start:
    """One start, and what became of it.

    Attributes:
        parameters: after the last step.
        history: mean log likelihood before every step.
        likelihood: that after the last step.
        converged: whether it ended by `tol`.
        n_reseeds: steps in which an empty component was moved.
        average: sums and totals of mini-batches, with weights that fade; None before the first.
        n_batches: that it has seen.
    """

    parameters: MixtureParameters
    history: list[float] = field(default_factory=list)
    likelihood: float = -math.inf
    converged: bool = False
    n_reseeds: int = 0
    average: tuple[Tensor, Tensor] | None = None
    n_batches: int = 0


def fit_start(rows: Rows, settings: Settings, progress: Callable[[float], None]) -> Start:
    """Fits a mixture from one start.

    Args:
        rows: at least K.
        settings: of the fit.
        progress: is called with the number of steps done.
    """
    start = Start(_first(rows, settings))
    step = _step if settings.mini_batch is None else _pass
    for n_steps in range(1, settings.max_iter + 1):
        start.history.append(step(start, rows, settings))
        progress(n_steps)
        if _is_still(start.history, settings.tol):
            start.converged = True
            break
    last = expectation(rows.x, start.parameters, rows.weights, settings.hard)
    start.likelihood = rows.mean(last.log_density)
    return start


def _is_still(history: list[float], tol: float) -> bool:
    if len(history) < 2 or tol == 0:
        return False
    return abs(history[-1] - history[-2]) <= tol * max(1.0, abs(history[-1]))


def _first(rows: Rows, settings: Settings) -> MixtureParameters:
    """The parameters to start from."""
    n, (n_rows, dim) = settings.n_components, rows.x.shape
    if not isinstance(settings.init, str):
        mu = unit_rows(settings.init).to(rows.x)
        if mu.shape != (n, dim):
            raise ValueError(f"init: expected directions {[n, dim]}, got {list(mu.shape)}")
    elif settings.init == "random":
        chosen = torch.randperm(n_rows, generator=settings.generator)[:n]
        mu = rows.x[chosen.to(rows.x.device)]
    else:
        mu = spherical_kmeans_plus_plus(rows.x, n, rows.weights, settings.generator)
    mu = torch.nn.functional.normalize(mu.double(), dim=1)
    equal = torch.full((n,), 1 / n, dtype=torch.float64, device=mu.device)
    if settings.init_kappa is not None:
        return MixtureParameters(equal, mu, torch.full_like(equal, settings.init_kappa))
    # equal weights and concentrations: every row goes to the nearest direction
    nearest = MixtureParameters(equal, mu, torch.ones_like(equal))
    found = expectation(rows.x, nearest, rows.weights, hard=True)
    return maximization(*_filled(found, rows, (found.sums, found.totals))[:2], settings.constraints)


def _filled(
    found: Statistics, rows: Rows, given: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, bool]:
    """Sums and totals with empty components moved to rows of low density, and whether any was."""
    sums, totals = given
    empty = totals < LEAST_ROWS * rows.total / len(rows.x)
    if not bool(empty.any()):
        return sums, totals, False
    own = Statistics(sums, totals, found.log_density)
    return *reseed(own, rows.x, rows.weights, empty), True


def _updated(start: Start, found: Statistics, rows: Rows, settings: Settings) -> None:
    """The M step, from sums and totals of all rows or the average over mini-batches."""
    given = (found.sums, found.totals) if start.average is None else start.average
    if start.n_reseeds < MAX_RESEEDS:
        *given, moved = _filled(found, rows, given)
        start.n_reseeds += moved
        start.average = None if start.average is None else tuple(given)
    start.parameters = maximization(*given, settings.constraints)


def _step(start: Start, rows: Rows, settings: Settings) -> float:
    """One step of EM over all rows; returns the mean log likelihood before it."""
    found = expectation(rows.x, start.parameters, rows.weights, settings.hard)
    _updated(start, found, rows, settings)
    return rows.mean(found.log_density)


def _pass(start: Start, rows: Rows, settings: Settings) -> float:
    """Stepwise EM over all rows in random order; returns the mean of their log likelihoods."""
    order = torch.randperm(len(rows.x), generator=settings.generator).to(rows.x.device)
    likelihood = 0.0
    for chosen in order.split(settings.mini_batch):
        part = rows.part(chosen)
        weight = part.total
        if weight == 0:
            continue
        found = expectation(part.x, start.parameters, part.weights, settings.hard)
        likelihood += weight * part.mean(found.log_density)
        start.n_batches += 1
        step = start.n_batches**-FORGETTING
        scale = len(part.x) / weight
        new = found.sums * scale, found.totals * scale
        old = new if start.average is None else start.average
        start.average = tuple((1 - step) * a + step * b for a, b in zip(old, new, strict=True))
        _updated(start, found, part, settings)
    return likelihood / rows.total
