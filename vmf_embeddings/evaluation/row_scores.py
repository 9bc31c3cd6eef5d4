"""Scores of a file as functions of weights of its rows, from which intervals and tests come."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.evaluation.context import Classified, Context
from vmf_embeddings.evaluation.score_table import ScoreTable
from vmf_embeddings.metrics import MarginalScores, RetrievalRows, RetrievalScores, ShotScores
from vmf_embeddings.metrics.calibration import Binning
from vmf_embeddings.metrics.classification import log_losses, squared_errors, top_k_hits
from vmf_embeddings.metrics.marginal_retrieval import MarginalRows
from vmf_embeddings.metrics.resampling import (
    WeightedClassMean,
    WeightedMean,
    WeightedScore,
    weighted_class_mean,
    weighted_mean,
)
from vmf_embeddings.metrics.selective import weighted_aurc
from vmf_embeddings.metrics.weighted_calibration import WeightedCalibrationError
from vmf_embeddings.metrics.weighted_classes import WeightedMacroF1

CALIBRATION_ERRORS: dict[str, tuple[int, Binning]] = {
    "ece_l2_equal_mass": (2, "equal_mass"),
    "ece_l1_equal_mass": (1, "equal_mass"),
    "ece_l1_equal_width": (1, "equal_width"),
}
"""Name -> norm and binning."""
UNITS = ("rows", "classes")
"""What is drawn: other rows of the same classes, or other classes of this kind."""


@dataclass(frozen=True)
class RowScore:
    """A score as a function of weights of rows.

    A mean over classes differs under draws of rows, which change the mean of each class, and under
    draws of classes, which count a class as often as it is drawn: hence one function for each.

    Args:
        over_rows: the score where rows are drawn.
        over_classes: the score where whole classes are drawn.
        values: float64 [N], where the score is the mean of those that are not NaN; else None.
        has_interval: whether draws tell how far it may be from that of other rows.
        compared: whether it is tested in comparisons of runs, of which each further test takes
            power from all.
    """

    over_rows: WeightedScore
    over_classes: WeightedScore
    values: Tensor | None = field(default=None, repr=False)
    has_interval: bool = True
    compared: bool = True

    def over(self, unit: str) -> WeightedScore:
        """The function for one of UNITS."""
        return self.over_rows if unit == "rows" else self.over_classes

    def value(self, n_rows: int) -> float:
        """The score of all rows."""
        return float(self.over_rows(torch.ones(1, n_rows, dtype=torch.float64))[0])


def mean_of(values: Tensor) -> RowScore:
    """The score that is the mean of values [N], NaN left out."""
    mean = weighted_mean(values)
    return RowScore(mean, mean, values.double())


def _of_table(score: WeightedScore) -> RowScore:
    """A score of a table, which may be a mean of rows or of classes."""
    if isinstance(score, WeightedMean) and score.weights is None:
        return mean_of(score.values)
    if isinstance(score, WeightedClassMean):
        return class_mean_of(score.values, score.codes.numpy())
    return RowScore(score, score)


def class_mean_of(values: Tensor, ids: np.ndarray) -> RowScore:
    """The score that is the mean over classes of the mean of values [N], NaN left out."""
    codes = torch.from_numpy(np.unique(ids, return_inverse=True)[1].reshape(-1))
    counts = torch.bincount(codes, (~values.isnan()).double())[codes]
    return RowScore(
        weighted_class_mean(values, codes), weighted_mean(values, 1 / counts.clamp_min(1))
    )


@dataclass(frozen=True)
class RowSources:
    """What the scores of a file were computed from.

    Args:
        context: the file.
        retrieved: scores by exact ranks or an index; None without retrieval.
        sampled: scores over draws of von Mises-Fisher embeddings; None without.
        shots: groups of classes; None unless training was long-tailed.
        tables: the tables of its sections.
        spaces: section of a space -> scores by exact ranks there.
    """

    context: Context
    retrieved: RetrievalScores | None = None
    sampled: MarginalScores | None = None
    shots: ShotScores | None = None
    tables: Mapping[str, ScoreTable] = field(default_factory=dict)
    spaces: Mapping[str, RetrievalScores] = field(default_factory=dict)

    def scores(self, sections: Mapping[str, Mapping[str, float]]) -> dict[str, RowScore]:
        """`section/name` -> score, of those scores of the sections that depend on single rows.

        Scores of the whole, such as NMI and spectra, are not among them. {} unless options ask for
        draws or comparisons.
        """
        options = self.context.options
        if not (options.resample or options.keep_rows) or not sections:
            return {}
        found: dict[str, RowScore] = {}
        for section, own in (("sampled_retrieval", self.sampled), ("retrieval", self.retrieved)):
            if own is not None:
                found |= _of_section(section, self._of_queries(own.rows))
        classified = self.context.classified
        if classified is not None:
            found |= _of_section("classification", self._of_classified(classified))
            if self.shots is not None:
                found |= _of_section("shots", self._of_shots(classified, self.shots))
        for section, table in self.tables.items():
            found |= _of_section(section, {n: _of_table(s) for n, s in table.weighted.items()})
        drawn = self._drawn() if options.resample else {}
        found |= {key: replace(score, compared=False) for key, score in drawn.items()}
        return {key: score for key, score in found.items() if _is_scored(key, sections)}

    def _drawn(self) -> dict[str, RowScore]:
        """Scores that have intervals and are not compared."""
        found: dict[str, RowScore] = {}
        for space, retrieved in self.spaces.items():
            found |= _of_section(space, self._of_space(retrieved))
        for section, table in self.tables.items():
            found |= _of_section(section, {n: _of_table(s) for n, s in table.drawn.items()})
            for row, queries in table.queries.items():
                found |= _of_section(f"{section}/{row}", self._of_queries(queries))
            for row, classified in table.classified.items():
                found |= _of_section(f"{section}/{row}", self._of_classified(classified))
        return found

    def _of_space(self, retrieved: RetrievalScores) -> dict[str, RowScore]:
        rows, queries = retrieved.rows, self.context.ranked
        within = rows.average_precision_within
        reference = rows.n_relevant.double() / (rows.n_relevant + 1)
        named = {
            "map_at_1000": within.get(1000),
            "map_at_1000_reference": _times(within.get(1000), reference),
            "map_c_reference": _times(within.get("class_size"), reference),
        }
        known = {name: own for name, own in named.items() if own is not None}
        of_cutoffs = {name: mean_of(self._every(queries, own)) for name, own in known.items()}
        return self._of_queries(rows) | of_cutoffs

    def _of_queries(self, rows: RetrievalRows | MarginalRows) -> dict[str, RowScore]:
        named = {
            **{f"recall@{k}": hits for k, hits in rows.recall.items()},
            "map@r": rows.average_precision_at_r,
            "r_precision": rows.r_precision,
            "mean_average_precision": rows.average_precision,
            "mean_reciprocal_rank": rows.reciprocal_rank,
        }
        return {name: mean_of(self._every(self.context.ranked, own)) for name, own in named.items()}

    def _of_classified(self, classified: Classified) -> dict[str, RowScore]:
        predicted, ids = classified.probabilities, classified.ids
        of_rows = {
            "accuracy": classified.correct,
            "top_5_accuracy": top_k_hits(predicted, ids, 5),
            "nll": log_losses(predicted, ids),
            "brier": squared_errors(predicted, ids),
        }
        rows = torch.from_numpy(classified.rows)
        scores = {name: mean_of(self._every(rows, own)) for name, own in of_rows.items()}
        correct = self._every(rows, classified.correct)
        aurc = weighted_aurc(classified.confidence, ~classified.correct)
        of_curve = RowScore(*[lambda weights: aurc(weights[:, rows])] * 2)
        macro = class_mean_of(correct, self.context.file.ids)
        return scores | {
            "macro_accuracy": macro,
            "aurc": of_curve,
            "macro_f1": _macro_f1(classified, rows),
            **_calibration_errors(classified, rows),
        }

    def _of_shots(self, classified: Classified, shots: ShotScores) -> dict[str, RowScore]:
        names = np.array(shots.group_names)[classified.ids]
        found = {}
        for name in shots.groups:
            own = names == name
            rows = torch.from_numpy(classified.rows[own])
            correct = self._every(rows, classified.correct[torch.from_numpy(own)])
            found[name] = class_mean_of(correct, self.context.file.ids)
        return found

    def _every(self, rows: Tensor, values: Tensor) -> Tensor:
        """Values of some rows as values of all [N], NaN for the others."""
        every = torch.full((len(self.context.file.ids),), torch.nan, dtype=torch.float64)
        every[rows] = values.double().cpu()
        return every


def _macro_f1(classified: Classified, rows: Tensor) -> RowScore:
    predicted = classified.predicted
    score = WeightedMacroF1(predicted.guess, predicted.labels, predicted.n_classes)
    return RowScore(
        lambda weights: score.over_rows(weights[:, rows]),
        lambda weights: score.over_classes(weights[:, rows]),
    )


def _calibration_errors(classified: Classified, rows: Tensor) -> dict[str, RowScore]:
    """Errors that draws make larger, so that differences of runs alone have an interval."""
    found = {}
    for name, (norm, binning) in CALIBRATION_ERRORS.items():
        error = WeightedCalibrationError(
            classified.confidence, classified.correct, norm=norm, binning=binning
        )
        found[name] = RowScore(
            *[lambda weights, error=error: error(weights[:, rows])] * 2, has_interval=False
        )
    return found


def _times(values: Tensor | None, factor: Tensor) -> Tensor | None:
    """Values times a factor, 0 where they are NaN; None without them."""
    return None if values is None else (values * factor).nan_to_num()


def averaged(runs: Sequence[Mapping[str, RowScore]]) -> dict[str, RowScore]:
    """The mean over runs of every score that all of them have, of the same rows."""
    if len(runs) == 1:
        return dict(runs[0])
    names = [name for name in runs[0] if all(name in own for own in runs)]
    found = {}
    for name in names:
        own = [run[name] for run in runs]
        known = [score.values for score in own if score.values is not None]
        if len(known) == len(own):
            found[name] = mean_of(torch.stack(known).mean(0))
        else:
            by_rows, by_classes = (_mean([score.over(unit) for score in own]) for unit in UNITS)
            found[name] = replace(own[0], over_rows=by_rows, over_classes=by_classes, values=None)
    return found


def _mean(scores: Sequence[Callable[[Tensor], Tensor]]) -> WeightedScore:
    return lambda weights: torch.stack([score(weights) for score in scores]).mean(0)


def difference(a: RowScore, b: RowScore) -> RowScore:
    """The score of b minus that of a, on the same rows."""
    if a.values is not None and b.values is not None:
        return mean_of(b.values - a.values)
    return RowScore(
        lambda weights: b.over_rows(weights) - a.over_rows(weights),
        lambda weights: b.over_classes(weights) - a.over_classes(weights),
    )


def _of_section(section: str, scores: Mapping[str, RowScore]) -> dict[str, RowScore]:
    return {f"{section}/{name}": score for name, score in scores.items()}


def _is_scored(key: str, sections: Mapping[str, Mapping[str, float]]) -> bool:
    section, _, name = key.partition("/")
    return name in sections.get(section, {})
