"""Correlation of scores over runs: Pearson's r and the least-squares line."""

import math
from collections.abc import Sequence

import numpy as np

from vmf_embeddings.evaluation.summary.runs import Run

FEWEST = 3  # two points always lie on a line


def values(runs: Sequence[Run], name: str) -> np.ndarray:
    """One score of all runs [n]; NaN where a run lacks it or where it is infinite."""
    found = np.array([run.scores.get(name, math.nan) for run in runs], dtype=float)
    return np.where(np.isfinite(found), found, math.nan)


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's r in [-1, 1] over the pairs [n] without NaN.

    NaN for fewer than three such pairs, and if x or y is constant.

    >>> pearson(np.array([1.0, 2.0, 3.0, np.nan]), np.array([2.0, 4.0, 6.0, 0.0]))
    1.0
    """
    both = ~(np.isnan(x) | np.isnan(y))
    x, y = x[both], y[both]
    # the deviations of a constant are rounding errors, which would correlate with anything
    if len(x) < FEWEST or _is_constant(x) or _is_constant(y):
        return math.nan
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip((x @ y) / math.sqrt((x @ x) * (y @ y)), -1, 1))


def line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the least-squares line of y on x, over pairs [n] without NaN.

    >>> [round(v, 6) for v in line(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]))]
    [2.0, 1.0]
    """
    both = ~(np.isnan(x) | np.isnan(y))
    x, y = x[both], y[both]
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    return slope, float(y.mean() - slope * x.mean())


def matrix(runs: Sequence[Run], names: Sequence[str]) -> np.ndarray:
    """Pearson's r of every pair of scores [S, S] over the runs; see `pearson` for NaN."""
    columns = [values(runs, name) for name in names]
    return np.array([[pearson(x, y) for y in columns] for x in columns])


def _is_constant(values: np.ndarray) -> bool:
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())
