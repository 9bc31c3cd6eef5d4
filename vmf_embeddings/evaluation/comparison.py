"""Two recipes on the same rows: over rows or classes, over seeds, by class, and how they differ."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.paired import PairedScore, chosen_here, compare, judged
from vmf_embeddings.evaluation.replications import Group, named_fields
from vmf_embeddings.evaluation.row_scores import averaged
from vmf_embeddings.evaluation.settings import varying
from vmf_embeddings.metrics.multiple_comparisons import holm
from vmf_embeddings.metrics.t_tests import MeanTest, paired_t, welch

# the score of the task, the first that two recipes have, by which classes are compared
_CLOSED = ("classification/accuracy",)
_OPEN = ("retrieval/recall@1", "sampled_retrieval/recall@1")
_OF_ROWS = ("dataset", "split", "split hash")  # the same in both, or they could not be compared


@dataclass(frozen=True)
class Side:
    """One of the recipes that are compared.

    Args:
        letter: "A" for the first.
        name: what was typed, and the settings in which it differs from others of the same folder.
        group: its runs.
    """

    letter: str
    name: str
    group: Group

    @property
    def file(self) -> EvaluatedFile:
        """The file of its first run."""
        return self.group.files[0]

    def values(self, key: str) -> list[float]:
        """The score `section/name` of every run."""
        section, _, name = key.partition("/")
        return [scores.sections[section][name] for scores in self.group.scores]

    def describe(self) -> dict[str, Any]:
        """As the JSON of a comparison has it."""
        files = [str(one.path) for one in self.group.files]
        seeds = [one.meta("seed") for one in self.group.files]
        return {"name": self.name, "files": files, "seeds": seeds}


@dataclass(frozen=True)
class ClassDifference:
    """The difference of the task's score on one class.

    Args:
        number: of the class.
        name: of the class.
        n_rows: rows of the class that count.
        a: mean of the first recipe.
        b: mean of the second.
    """

    number: int
    name: str
    n_rows: int
    a: float
    b: float

    @property
    def difference(self) -> float:
        """B - a."""
        return self.b - self.a


@dataclass(frozen=True)
class ComparedScore:
    """The difference of one score, over rows or classes and over seeds.

    Args:
        paired: over rows or classes, of the means over runs.
        a: the score of each run of the first recipe.
        b: likewise, of the second.
        seeds: over seeds; its ends are NaN with a single run of either.
        p_seeds: its p, corrected for the number of scores; NaN likewise.
    """

    paired: PairedScore
    a: list[float]
    b: list[float]
    seeds: MeanTest
    p_seeds: float = math.nan

    @property
    def verdict(self) -> str:
        """That over rows or classes, if the one over seeds, where it is known, is the same."""
        own = self.paired.verdict
        if math.isnan(self.p_seeds) or judged(self.paired.better, self.p_seeds) == own:
            return own
        return "not told apart"

    def describe(self) -> dict[str, Any]:
        """As the JSON of a comparison has it."""
        of_rows = self.paired.describe()
        return {
            **{{"this": "b", "other": "a"}.get(key, key): value for key, value in of_rows.items()},
            "a_runs": self.a, "b_runs": self.b,
            "over_seeds": {**vars(self.seeds), "p_holm": self.p_seeds},
            "verdict": self.verdict,
        }  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """The second recipe against the first.

    Args:
        a: the first.
        b: the second.
        scores: of every score of rows that both have.
        paired_seeds: whether both were run with the same seeds, which are then compared in pairs.
        task: `section/name` of the score that classes are compared by; None where it is missing.
        classes: their differences, the largest gain first.
        settings: name -> values in the first and in the second, of what differs.
        n_draws: of the intervals.
    """

    a: Side
    b: Side
    scores: list[ComparedScore]
    paired_seeds: bool
    task: str | None
    classes: list[ClassDifference]
    settings: dict[str, tuple[str, str]]
    n_draws: int

    @property
    def chosen(self) -> tuple[EvaluatedFile, ...]:
        """Files whose epoch was chosen by the rows that are compared."""
        return chosen_here([*self.a.group.files, *self.b.group.files])

    def describe(self) -> dict[str, Any]:
        """As the JSON of a comparison has it."""
        return {
            "a": self.a.describe(),
            "b": self.b.describe(),
            "differs_in": {key: list(values) for key, values in self.settings.items()},
            "seeds": "paired t" if self.paired_seeds else "Welch",
            "chosen_here": [str(one.path) for one in self.chosen],
            "draws": self.n_draws,
            "scores": {one.paired.key: one.describe() for one in self.scores},
            "classes_by": self.task,
            "classes": [{**vars(one), "difference": one.difference} for one in self.classes],
        }


def compare_sides(a: Side, b: Side, unit: str, n_draws: int, seed: int) -> Comparison:
    """Compares two recipes whose files hold the same rows.

    Args:
        a: the first.
        b: the second, whose differences from the first are taken.
        unit: "rows" or "classes", for the test.
        n_draws: of the intervals and of the flips of signs.
        seed: of both.

    Raises:
        ValueError: they have no score of single rows in common.
    """
    runs = [[scores.row_scores for scores in side.group.scores] for side in (a, b)]
    paired = compare(runs[0], runs[1], a.file.file.ids, unit, n_draws, seed)
    if not paired:
        raise ValueError(
            f"{a.name} and {b.name} have no score of single rows in common, as one has logits and "
            "the other has none: add --recall 1 to compare how both retrieve"
        )
    order = _pairs_of_seeds(a.group, b.group)
    scores = []
    for one in paired:
        of_a, of_b = a.values(one.key), b.values(one.key)
        test = welch(of_a, of_b) if order is None else _by_seed(of_a, of_b, order)
        scores.append(ComparedScore(one, of_a, of_b, test))
    task = task_score(a.file, [one.key for one in paired])
    return Comparison(
        a, b, _with_holm(scores), order is not None, task,
        _by_class(a, b, task), settings_apart(a.file, b.file), n_draws,
    )  # fmt: skip


def task_score(evaluated: EvaluatedFile, keys: Sequence[str]) -> str | None:
    """The score of the task: accuracy of closed sets, else Recall@1; None without it."""
    closed = not evaluated.file.open_set and evaluated.file.logits is not None
    wanted = (*_CLOSED, *_OPEN) if closed else (*_OPEN, *_CLOSED)
    return next((key for key in wanted if key in keys), None)


def settings_apart(a: EvaluatedFile, b: EvaluatedFile) -> dict[str, tuple[str, str]]:
    """What two runs differ in: name -> both values, of fields of the files and of settings."""
    fields = [named_fields(one) for one in (a, b)]
    found = {
        name: (value, fields[1][name])
        for name, value in fields[0].items()
        if value != fields[1][name] and name not in _OF_ROWS
    }
    keys = varying([a.settings, b.settings])
    return found | {key: (a.settings[key], b.settings[key]) for key in keys}


def _pairs_of_seeds(a: Group, b: Group) -> tuple[list[int], list[int]] | None:
    """Places of the runs by seed, where both have the same ones, each once; else None."""
    seeds = [[one.meta("seed") for one in side.files] for side in (a, b)]
    known = [set(own) - {None} for own in seeds]
    if known[0] != known[1] or any(
        len(set_) != len(own) for set_, own in zip(known, seeds, strict=True)
    ):
        return None
    first, second = (sorted(range(len(own)), key=own.__getitem__) for own in seeds)
    return first, second


def _by_seed(a: list[float], b: list[float], order: tuple[list[int], list[int]]) -> MeanTest:
    return paired_t([a[i] for i in order[0]], [b[i] for i in order[1]])


def _with_holm(scores: Sequence[ComparedScore]) -> list[ComparedScore]:
    known = [n for n, one in enumerate(scores) if not math.isnan(one.seeds.p)]
    adjusted = dict(zip(known, holm([scores[n].seeds.p for n in known]).tolist(), strict=True))
    return [
        ComparedScore(one.paired, one.a, one.b, one.seeds, adjusted.get(n, math.nan))
        for n, one in enumerate(scores)
    ]


def _by_class(a: Side, b: Side, task: str | None) -> list[ClassDifference]:
    """The classes by falling difference of the task's score."""
    if task is None:
        return []
    values = []
    for side in (a, b):
        own = averaged([scores.row_scores for scores in side.group.scores])[task].values
        assert own is not None
        values.append(own)
    ids, names = a.file.file.ids, a.file.class_names or {}
    known = (~(values[0] + values[1]).isnan()).numpy()
    classes, codes = np.unique(ids[known], return_inverse=True)
    places = torch.from_numpy(codes.reshape(-1))
    counts = torch.bincount(places)
    means = [torch.bincount(places, own[torch.from_numpy(known)]) / counts for own in values]
    lines = zip(classes.tolist(), counts.tolist(), *(m.tolist() for m in means), strict=True)
    found = [ClassDifference(c, names.get(c, str(c)), n, x, y) for c, n, x, y in lines]
    return sorted(found, key=lambda one: -one.difference)
