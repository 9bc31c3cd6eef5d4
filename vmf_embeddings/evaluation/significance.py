"""How far the scores of a file may be from those of other rows, and of other classes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.row_scores import UNITS, RowScore
from vmf_embeddings.metrics.resampling import bootstrap, percentile_interval
from vmf_embeddings.metrics.standard_errors import (
    error_over_classes,
    error_over_rows,
    wilson_95,
)
from vmf_embeddings.progress import Progress

FEW_CLASSES = 20  # below it, intervals over classes are clearly too narrow
_FEW = 10  # hits or misses below which a proportion has Wilson's interval


@dataclass(frozen=True)
class Interval:
    """The 95 % interval of one score.

    Args:
        unit: "rows" or "classes": what would be drawn anew.
        n: how many of them the score is of.
        se: standard deviation of the score over draws.
        se_formula: its closed form, where the score is a mean of rows; else NaN.
        low: lower end.
        high: upper end.
        method: "percentile" of the draws, or "wilson", of proportions near 0 or 1.
        draws: float64 [B] score of every draw.
        listed: whether it is printed; all are in `metrics.json`.
    """

    unit: str
    n: int
    se: float
    se_formula: float
    low: float
    high: float
    method: str
    draws: Tensor = field(repr=False)
    listed: bool = True


Intervals = dict[str, dict[str, Interval]]
"""`section/name` of a score -> unit -> interval."""


def default_unit(evaluated: EvaluatedFile) -> str:
    """Classes for open sets, whose classes stand for others of their kind; else rows."""
    file = evaluated.file
    return "classes" if file.open_set or file.logits is None else "rows"


def intervals(
    scores: Mapping[str, RowScore], ids: np.ndarray, n_draws: int, seed: int
) -> Intervals:
    """The intervals of scores over other rows, and over other classes, from the same draws.

    Args:
        scores: `section/name` -> score of the N rows.
        ids: [N] classes.
        n_draws: draws with replacement of N rows, and of all classes; 0 for no interval, else >= 2.
        seed: of the draws.
    """
    scores = {name: score for name, score in scores.items() if score.has_interval}
    if not scores or not n_draws:
        return {}
    found: Intervals = {name: {} for name in scores}
    for unit in UNITS:
        functions = {name: score.over(unit) for name, score in scores.items()}
        drawn = drawn_scores(functions, ids, unit, n_draws, seed)
        for name, draws in drawn.items():
            found[name][unit] = _interval(scores[name], ids, unit, draws)
    return found


def drawn_scores(
    functions: Mapping[str, Any], ids: np.ndarray, unit: str, n_draws: int, seed: int
) -> dict[str, Tensor]:
    """Scores [n_draws] under draws of one unit, shown while it takes long."""
    with Progress(f"Drawing {unit} {n_draws:,} times", n_draws) as progress:
        return bootstrap(
            functions,
            len(ids),
            n_draws,
            classes=None if unit == "rows" else ids,
            seed=seed,
            on_draws=progress,
        )


def _interval(score: RowScore, ids: np.ndarray, unit: str, draws: Tensor) -> Interval:
    known = np.ones(len(ids), bool) if score.values is None else ~score.values.isnan().numpy()
    n = int(known.sum()) if unit == "rows" else len(set(ids[known].tolist()))
    low, high = percentile_interval(draws) if n > 1 else (math.nan, math.nan)
    method, formula, se = "percentile", math.nan, spread_of(draws)
    if score.values is not None:
        error = error_over_rows(score.values)
        formula = error if unit == "rows" else error_over_classes(score.values, ids)
        values = score.values[torch.from_numpy(known)]
        if n > 1 and _is_extreme(values):
            method = "wilson"
            low, high = _wilson(values, n, formula)
    if not high > low:  # no draw differs: that says nothing about others
        low = high = math.nan
    se = se if n > 1 else math.nan
    return Interval(unit, n, se, formula, low, high, method, draws, score.compared)


def spread_of(draws: Tensor) -> float:
    """Standard deviation of the draws [B] that have the score; NaN with fewer than two."""
    known = draws[~draws.isnan()]
    return float(known.std()) if len(known) > 1 else math.nan


def _is_extreme(values: Tensor) -> bool:
    """Whether values are hits of which few are, or few are not, right."""
    hits = int((values == 1).sum())
    is_proportion = hits + int((values == 0).sum()) == len(values)
    return is_proportion and min(hits, len(values) - hits) < _FEW


def _wilson(values: Tensor, n_units: int, error: float) -> tuple[float, float]:
    """Wilson's interval of hits, for as many independent rows as have the same standard error."""
    rate, n = float(values.mean()), float(len(values))
    if n_units < n:
        # without a miss there is no error to go by: as if rows of a class were one
        n = min(n, rate * (1 - rate) / error**2) if error > 0 else n_units
    return wilson_95(rate * n, n)


def mean_interval(runs: Sequence[Mapping[str, Interval]], unit: str) -> tuple[float, float]:
    """The interval of the mean of a score over runs, whose draws are of the same rows."""
    own = [run[unit] for run in runs]
    if len(own) == 1:
        return own[0].low, own[0].high
    if any(math.isnan(one.low) for one in own):
        return math.nan, math.nan
    return percentile_interval(torch.stack([one.draws for one in own]).mean(0))


def describe(found: Intervals, unit: str, n_rows: int, seed: int) -> dict[str, Any]:
    """The section `significance` of metrics.json: for each score the interval of the unit.

    That of the other unit is in `also`.
    """
    return {
        name: {
            **_entry(own[unit], n_rows, seed),
            "also": [_entry(own[other], n_rows, seed) for other in UNITS if other != unit],
        }
        for name, own in found.items()
    }


def _entry(interval: Interval, n_rows: int, seed: int) -> dict[str, Any]:
    left_out = {"n_rows_left_out": n_rows - interval.n} if interval.unit == "rows" else {}
    return {
        "unit": interval.unit,
        "n": interval.n,
        "se": interval.se,
        "se_formula": interval.se_formula,
        "low": interval.low,
        "high": interval.high,
        "method": interval.method,
        "draws": len(interval.draws),
        "seed": seed,
        **left_out,
    }
