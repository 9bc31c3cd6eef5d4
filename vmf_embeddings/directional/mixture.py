"""Mixtures of von Mises-Fisher distributions, fitted by EM: soft and hard clustering on the sphere.

Banerjee et al. 2005 (https://jmlr.org/papers/v6/banerjee05a.html): "movMF". Concentrations are
exact, and of several starts the one of the largest likelihood is kept.
"""

import math
from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily

from vmf_embeddings.directional.distribution import VonMisesFisher
from vmf_embeddings.directional.estimation import Array, default_kappa_max
from vmf_embeddings.directional.mixture_fit import Rows, Settings, fit_start
from vmf_embeddings.directional.mixture_rows import checked_weights, like, unit_rows
from vmf_embeddings.directional.mixture_steps import Constraints, MixtureParameters, blocks
from vmf_embeddings.directional.sampler import sample as draw
from vmf_embeddings.progress import LARGE_JOB, Progress

RESPONSIBILITIES = ("soft", "hard")
INITS = ("k-means++", "random")


class VonMisesFisherMixture:
    """A mixture of K von Mises-Fisher distributions, with the method names of scikit-learn.

    Rows are arrays of NumPy or tensors [N, D] of any length but 0, and count by their directions;
    results are of the same kind. It is computed in their dtype, float32 or float64, with sums in
    float64, and on their device, in blocks: memory grows with N and with K, not with N times K.

    Args:
        n_components: K >= 1.
        responsibilities: "soft" = EM; "hard" = every row counts for one component alone, which
            maximises sum_n max_k log w_k p_k(x_n).
        shared_kappa: all components have one concentration.
        kappa: a concentration that is kept instead of estimated. With `equal_weights=True` and
            `responsibilities="hard"` it is spherical k-means, whatever its value.
        equal_weights: every component has weight 1/K.
        kappa_max: largest concentration, which components of equal rows get; None: see
            `fit_von_mises_fisher`.
        init: "k-means++", "random" (rows drawn at random), or first directions [K, D].
        init_kappa: concentration of all components in the first step, which have equal weights;
            None = the first step assigns each row to its nearest direction.
        n_init: number of starts, of which the one of the largest likelihood is kept.
        max_iter: largest number of steps; with `mini_batch`, of passes over the rows.
        tol: ends when the mean log likelihood changes by less than tol * max(1, |itself|); 0 =
            after `max_iter` steps.
        mini_batch: rows per step of stepwise EM (Cappe and Moulines 2009,
            https://arxiv.org/abs/0712.4273), for many rows; None = all rows in every step.
        generator: source of randomness, on the CPU; None = the global one.
        quiet: print no progress.

    Attributes:
        weights_: [K], which add up to 1; 0 for a component that no row was left for.
        mean_directions_: unit vectors [K, D].
        concentrations_: [K].
        log_likelihoods_: mean log likelihood of the rows in nats before every step. Without
            `mini_batch` it never falls but by rounding, or where a component without rows was
            moved to the row of the lowest density.
        n_iter_: number of steps.
        converged_: whether it ended by `tol`.

    >>> centres = VonMisesFisher(torch.eye(3)[:2], torch.tensor([50.0, 50.0]))
    >>> x = centres.sample((100,), torch.Generator().manual_seed(0)).flatten(0, 1)
    >>> mixture = VonMisesFisherMixture(2, generator=torch.Generator().manual_seed(0)).fit(x)
    >>> len(set(mixture.predict(x)[::2].tolist())), [round(w, 2) for w in mixture.weights_.tolist()]
    (1, [0.5, 0.5])
    """

    weights_: Array
    mean_directions_: Array
    concentrations_: Array
    log_likelihoods_: list[float]
    n_iter_: int
    converged_: bool

    def __init__(
        self,
        n_components: int,
        *,
        responsibilities: str = "soft",
        shared_kappa: bool = False,
        kappa: float | None = None,
        equal_weights: bool = False,
        kappa_max: float | None = None,
        init: str | Array = "k-means++",
        init_kappa: float | None = None,
        n_init: int = 1,
        max_iter: int = 100,
        tol: float = 1e-5,
        mini_batch: int | None = None,
        generator: torch.Generator | None = None,
        quiet: bool = False,
    ) -> None:
        _check_known("responsibilities", responsibilities, RESPONSIBILITIES)
        if isinstance(init, str):
            _check_known("init", init, INITS)
        counts = {"n_components": n_components, "n_init": n_init, "max_iter": max_iter}
        for name, number in (counts | {"mini_batch": mini_batch or 1}).items():
            if number < 1:
                raise ValueError(f"{name}: expected at least 1, got {number}")
        for name, given in (("kappa", kappa), ("init_kappa", init_kappa), ("tol", tol)):
            if given is not None and not given >= 0:
                raise ValueError(f"{name}: expected a number >= 0, got {given}")
        self.n_components, self.hard, self.n_init = n_components, responsibilities == "hard", n_init
        self.shared_kappa, self.kappa, self.kappa_max = shared_kappa, kappa, kappa_max
        self.equal_weights, self.init, self.init_kappa = equal_weights, init, init_kappa
        self.max_iter, self.tol, self.mini_batch = max_iter, tol, mini_batch
        self.generator, self.quiet = generator, quiet
        self._parameters: MixtureParameters | None = None

    @torch.no_grad()
    def fit(self, x: Array, sample_weight: Array | None = None) -> Self:
        """Estimates the mixture.

        Args:
            x: rows [N, D], N >= K, D >= 2.
            sample_weight: [N], >= 0; a row of weight 2 counts as two equal rows. None = 1.

        Returns:
            Itself.

        Raises:
            ValueError: a row has length 0 or is not finite, weights are negative or all 0, or
                there are fewer rows than components.
        """
        units = unit_rows(x, self.n_components)
        rows = Rows(units, checked_weights(sample_weight, units))
        settings = self._settings(units)
        what = f"Mixture of {self.n_components:,} on {len(units):,} rows"
        total, starts = self.n_init * self.max_iter, []
        with Progress(what, total, quiet=self.quiet, at_once=len(units) > LARGE_JOB) as progress:
            for done in range(0, total, self.max_iter):
                starts.append(fit_start(rows, settings, lambda n, d=done: progress(d + n)))
        best = max(starts, key=lambda start: start.likelihood)
        found = self._parameters = best.parameters
        self.weights_, self.mean_directions_, self.concentrations_ = (
            like(x, value) for value in (found.weights, found.mu, found.kappa)
        )
        self.log_likelihoods_, self.n_iter_ = best.history, len(best.history)
        self.converged_ = best.converged
        return self

    def _settings(self, units: Tensor) -> Settings:
        largest = self.kappa_max or default_kappa_max(units.shape[1], units.dtype)
        fixed = Constraints(self.shared_kappa, self.kappa, self.equal_weights, largest)
        return Settings(
            *(self.n_components, self.hard, fixed, self.init, self.init_kappa),
            *(self.max_iter, self.tol, self.mini_batch, self.generator),
        )

    def _fitted(self) -> MixtureParameters:
        if self._parameters is None:
            raise ValueError("the mixture has no parameters yet: call fit(x) first")
        return self._parameters

    def _joint(self, x: Array) -> Iterator[Tensor]:
        """Joint log densities log w_k p_k(x_n) in blocks [B, K], one after the other."""
        found, units = self._fitted(), unit_rows(x, 0)
        if units.shape[1] != found.mu.shape[1]:
            raise ValueError(f"x: expected rows [N, {found.mu.shape[1]}], got {list(units.shape)}")
        return (found.joint_log_density(units[b]) for b in blocks(units, self.n_components))

    def log_density(self, x: Array) -> Array:
        """Log density log sum_k w_k p_k(x_n) [N] in nats, with respect to surface measure."""
        return like(x, _joined([joint.logsumexp(1) for joint in self._joint(x)]))

    def predict(self, x: Array) -> Array:
        """The most probable component of each row, int64 [N]."""
        return like(x, _joined([joint.argmax(1) for joint in self._joint(x)], torch.long))

    def predict_proba(self, x: Array) -> Array:
        """Probabilities of the components given each row, [N, K]."""
        parts = [joint.softmax(1) for joint in self._joint(x)]
        return like(x, torch.cat(parts) if parts else torch.empty(0, self.n_components))

    def fit_predict(self, x: Array, sample_weight: Array | None = None) -> Array:
        """`fit`, then `predict` of the same rows."""
        return self.fit(x, sample_weight).predict(x)

    def score(self, x: Array, sample_weight: Array | None = None) -> float:
        """Mean log density of rows in nats; weighted by `sample_weight` [N] if given."""
        values = torch.as_tensor(self.log_density(x))
        return Rows(values, checked_weights(sample_weight, values)).mean(values)

    @property
    def n_parameters(self) -> int:
        """Free parameters: K(D+1)-1, less where weights or concentrations are equal or fixed."""
        n, dim = self._fitted().mu.shape
        n_kappas = 0 if self.kappa is not None else 1 if self.shared_kappa else n
        return n * (dim - 1) + n_kappas + (0 if self.equal_weights else n - 1)

    def bic(self, x: Array, sample_weight: Array | None = None) -> float:
        """Bayesian information criterion, -2 log likelihood + parameters * log N; lower = better.

        N is the sum of the weights. Schwarz 1978, https://doi.org/10.1214/aos/1176344136.
        """
        n = len(x) if sample_weight is None else float(torch.as_tensor(sample_weight).sum())
        return -2 * n * self.score(x, sample_weight) + self.n_parameters * math.log(n)

    def aic(self, x: Array, sample_weight: Array | None = None) -> float:
        """Akaike's information criterion, -2 log likelihood + 2 * parameters; lower = better."""
        n = len(x) if sample_weight is None else float(torch.as_tensor(sample_weight).sum())
        return -2 * n * self.score(x, sample_weight) + 2 * self.n_parameters

    @torch.no_grad()
    def sample(self, n_samples: int) -> tuple[Array, Array]:
        """Unit vectors [n_samples, D] and their components int64 [n_samples], in random order."""
        found = self._fitted()
        level = torch.rand(n_samples, generator=self.generator, dtype=torch.float64)
        component = torch.searchsorted(found.weights.cpu().cumsum(0), level, right=True)
        component = component.clamp_max_(self.n_components - 1)
        # the draws come from a generator of the CPU as well
        points = draw(
            found.mu.cpu()[component], found.kappa.cpu()[component], 1, generator=self.generator
        )[0].to(found.mu.device)
        return like(self.weights_, points), like(self.weights_, component.to(points.device))

    def distribution(self) -> MixtureSameFamily:
        """The mixture as a distribution of PyTorch, in float64: its log_prob has gradients."""
        found = self._fitted()
        components = VonMisesFisher(found.mu, found.kappa, validate_args=False)
        return MixtureSameFamily(Categorical(probs=found.weights), components)


def _check_known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")


def _joined(parts: list[Tensor], dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.cat(parts) if parts else torch.empty(0, dtype=dtype)
