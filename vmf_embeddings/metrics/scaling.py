"""Calibration that is fitted on other rows than those it is scored on: temperature and vector.

Guo et al. 2017, https://arxiv.org/abs/1706.04599. Their own fit of the temperature stops after 50
steps, often far from the optimum; here it is the optimum of the likelihood.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_labels

_BLOCK_ELEMENTS = 2**20  # of the logits that are in float64 at a time
_REACH = 6.0  # log 1/T is looked for in [-6, 6]: T from 0.0025 to 403
_GRID = 41  # temperatures that are tried first where the likelihood is not convex
ROWS_PER_CLASS = 10  # that vector scaling needs: it has two parameters for each class


@dataclass(frozen=True)
class Temperature:
    """One number that divides all logits; predictions stay, but for ties.

    Args:
        value: T > 0.
        settled: False where the likelihood still rises at the end of the range that is searched, as
            where every row is predicted rightly: then there is no optimum.

    >>> Temperature(2.0, settled=True)(torch.tensor([3.0, 1.0]))
    tensor([1.5000, 0.5000])
    """

    value: float
    settled: bool

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits [.., C] / T."""
        return logits / self.value


@dataclass(frozen=True)
class VectorScaling:
    """One factor and one offset for each class; predictions change.

    Args:
        scale: w float64 [C].
        bias: b float64 [C]; adds up to 0.
        settled: False where the gradient of the mean likelihood did not fall below 1e-6.

    >>> scaling = VectorScaling(torch.tensor([2.0, 1.0]), torch.tensor([0.5, -0.5]), settled=True)
    >>> scaling(torch.tensor([1.0, 1.0]))
    tensor([2.5000, 0.5000])
    """

    scale: Tensor
    bias: Tensor
    settled: bool

    def __call__(self, logits: Tensor) -> Tensor:
        """W z + b for logits [.., C]."""
        return logits * self.scale + self.bias


def fit_temperature(logits: Array, labels: Array) -> Temperature:
    """The temperature of the smallest mean negative log-likelihood.

    The likelihood is convex in b = 1/T: the root of mean(sum_c p_c z_c - z_y) is found by
    bracketing in log b. With draws the likelihood of the mean probability is not convex: the best
    of 41 temperatures, evenly spaced in log T, is improved by a bounded search.

    Args:
        logits: [N, C], or [N, S, C] with S draws each; N >= 1.
        labels: [N] in 0..C-1.

    >>> z = torch.tensor([[3.0, 0.0], [3.0, 0.0], [3.0, 0.0], [3.0, 0.0]])
    >>> fitted = fit_temperature(z, [0, 0, 0, 1])  # 3 of 4 are right: z / T = log 3
    >>> round(fitted.value * math.log(3), 9)
    3.0
    """
    from scipy.optimize import brentq, minimize_scalar

    rows, labels = _checked(logits, labels)
    if rows.ndim == 2:
        slope = _slope(rows, labels)
        ends = slope(-_REACH), slope(_REACH)
        if ends[0] >= 0 or ends[1] <= 0:
            return Temperature(math.exp(_REACH if ends[0] >= 0 else -_REACH), settled=False)
        return Temperature(math.exp(-brentq(slope, -_REACH, _REACH, xtol=1e-13)), settled=True)

    def loss(log_temperature: float) -> float:
        return mean_nll(rows, labels, lambda z: z / math.exp(log_temperature))

    grid = np.linspace(-_REACH, _REACH, _GRID)
    best = int(np.argmin([loss(point) for point in grid]))
    if best in (0, _GRID - 1):
        return Temperature(math.exp(grid[best]), settled=False)
    bounds = grid[best - 1], grid[best + 1]
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    return Temperature(math.exp(found.x), settled=True)


def fit_vector_scaling(logits: Array, labels: Array) -> VectorScaling:
    """Factors and offsets of the smallest mean negative log-likelihood, which is convex in them.

    Args:
        logits: [N, C], N >= 10 C; no draws.
        labels: [N] in 0..C-1.

    Raises:
        ValueError: there are too few rows, draws, or logits of -inf.

    >>> z = 3 * torch.eye(2, dtype=torch.float64).repeat(15, 1)
    >>> fitted = fit_vector_scaling(z, [0, 1] * 10 + [1, 0] * 5)  # 20 of 30 are right
    >>> round(float(fitted(z)[0].softmax(0)[0]), 6)
    0.666667
    """
    from scipy.optimize import minimize

    rows, labels = _checked(logits, labels)
    if rows.ndim != 2:
        raise ValueError("with draws of the logits the likelihood is not convex")
    n_rows, n_classes = rows.shape
    if n_rows < ROWS_PER_CLASS * n_classes:
        raise ValueError(
            f"it needs {ROWS_PER_CLASS * n_classes} rows, {ROWS_PER_CLASS} for each class, and "
            f"there are {n_rows}"
        )

    if bool(rows.isinf().any()):
        raise ValueError("logits of impossible classes, -inf, have no factor")

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        scale, bias = torch.from_numpy(parameters).view(2, n_classes)
        value, gradient = 0.0, torch.zeros(2, n_classes, dtype=torch.float64)
        for z, own in _blocks(rows, labels):
            log_p = (z * scale + bias).log_softmax(1)
            value -= float(log_p.gather(1, own[:, None]).sum()) / n_rows
            error = log_p.exp_()
            error[torch.arange(len(own)), own] -= 1
            gradient += torch.stack([(error * z).sum(0), error.sum(0)]) / n_rows
        return value, gradient.view(-1).numpy()

    start = np.r_[np.ones(n_classes), np.zeros(n_classes)]
    options = {"maxiter": 2000, "maxfun": 4000, "maxcor": 50, "gtol": 1e-8, "ftol": 0}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    scale, bias = torch.from_numpy(found.x).view(2, n_classes)
    return VectorScaling(scale, bias - bias.mean(), bool(np.abs(found.jac).max() < 1e-6))


def mean_nll(rows: Tensor, labels: Tensor, scaled: Callable[[Tensor], Tensor]) -> float:
    """Mean of -log p(class) in nats, of scaled logits; with draws of the mean probability.

    Args:
        rows: logits [N, C] or [N, S, C].
        labels: [N].
        scaled: float64 logits -> logits.

    >>> round(mean_nll(torch.zeros(3, 2), torch.tensor([0, 1, 1]), lambda z: z), 6)  # log 2
    0.693147
    """
    total = 0.0
    for z, own in _blocks(rows, labels):
        log_p = scaled(z).log_softmax(-1)
        if log_p.ndim == 3:
            log_p = log_p.logsumexp(1) - math.log(log_p.shape[1])
        total -= float(log_p.gather(1, own[:, None]).sum())
    return total / len(rows)


def _slope(rows: Tensor, labels: Tensor) -> Callable[[float], float]:
    """Derivative of the mean likelihood loss by b = 1/T, as a function of log b."""

    def slope(log_b: float) -> float:
        total = 0.0
        for z, own in _blocks(rows, labels):
            # z - z_y: a constant of a row changes nothing, and large ones would cancel
            excess = z - z.gather(1, own[:, None])
            total += float(((math.exp(log_b) * excess).softmax(1) * _finite(excess)).sum())
        return total / len(rows)

    return slope


def _finite(excess: Tensor) -> Tensor:
    """0 in place of -inf, the logit of a class that is impossible, whose probability is 0."""
    return excess.masked_fill(excess == -torch.inf, 0)


def _blocks(rows: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    size = max(1, _BLOCK_ELEMENTS // rows[0].numel())
    for part, own in zip(rows.split(size), labels.split(size), strict=True):
        yield part.double(), own


def _checked(logits: Array, labels: Array) -> tuple[Tensor, Tensor]:
    rows, own = torch.as_tensor(logits).detach(), as_labels(labels)
    if rows.ndim not in (2, 3) or len(rows) != len(own) or not len(own):
        raise ValueError(
            f"logits must be [N, C] or [N, S, C] and labels [N] with N >= 1, got "
            f"{list(rows.shape)} and {list(own.shape)}"
        )
    if own.min() < 0 or own.max() >= rows.shape[-1]:
        raise ValueError(
            f"labels must be in 0..{rows.shape[-1] - 1}, got {int(own.min())}..{int(own.max())}"
        )
    return rows, own
