"""Means and standard errors over replications: runs that differ in their seed alone."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.scores import Scores
from vmf_embeddings.evaluation.settings import Settings, varying

_FIELDS = (
    "dataset", "split", "split hash", "train identity", "selected on", "method", "objective",
    "geometry", "dimensions",
)  # fmt: skip
# meta key -> what it means if it differs; scores can only be compared where both hashes are equal
_HASHES = {
    "train_identity": "were trained on different images (train identity",
    "split_hash": "hold embeddings of different images (split hash",
}


@dataclass(frozen=True)
class Mean:
    """Mean and standard error of one score over n replications; NaNs are left out.

    Args:
        mean: NaN where n is 0.
        standard_error: sqrt(sum (x - mean)^2 / (n - 1) / n); NaN where n < 2.
        n: number of values that are not NaN.
    """

    mean: float
    standard_error: float
    n: int

    @property
    def error_by_n(self) -> float:
        """What the scripts of 2021 print: sqrt(sum (x - mean)^2) / n, which is 0 for one value."""
        return 0.0 if self.n == 1 else self.standard_error * math.sqrt(1 - 1 / max(self.n, 1))


@dataclass(frozen=True)
class Group:
    """Files that may be averaged: their `group_key` is the same.

    Args:
        files: at least one.
        scores: of each file, in the same order.
        settings: of these runs, those that differ from other groups.
    """

    files: tuple[EvaluatedFile, ...]
    scores: tuple[Scores, ...]
    settings: Settings = field(default_factory=dict)

    def mean(self, section: str, name: str) -> Mean:
        """Mean and standard error of the score `name` of a section, over the files."""
        return mean_and_error([s.sections[section][name] for s in self.scores])

    def sections(self) -> dict[str, list[str]]:
        """Section -> names of the scores that every file of the group has."""
        first = self.scores[0].sections
        return {
            section: [n for n in names if all(n in s.sections[section] for s in self.scores)]
            for section, names in first.items()
            if all(section in s.sections for s in self.scores)
        }

    def notes(self) -> list[str]:
        """A warning where several runs share a seed, and so are not replications."""
        seeds = [evaluated.meta("seed") for evaluated in self.files]
        known = [seed for seed in seeds if seed is not None]
        if len(set(known)) < len(known):
            return [
                f"{len(known)} runs have {len(set(known))} different seeds: some differ in other "
                "settings, and the standard error then is not one over replications"
            ]
        return []


def mean_and_error(values: Sequence[float]) -> Mean:
    """Mean and standard error of the values that are not NaN; see `Mean`."""
    finite = [value for value in values if not math.isnan(value)]
    if not finite:
        return Mean(math.nan, math.nan, 0)
    n = len(finite)
    error = float(np.std(finite, ddof=1) / math.sqrt(n)) if n > 1 else math.nan
    return Mean(float(np.mean(finite)), error, n)


def group_key(evaluated: EvaluatedFile) -> tuple[str, ...]:
    """What must be equal for two files to be averaged, in the order of `_FIELDS`."""
    return (
        evaluated.dataset,
        evaluated.split,
        str(evaluated.meta("split_hash")),
        str(evaluated.meta("train_identity")),
        evaluated.selected_on,
        str(evaluated.meta("method")),
        json.dumps(evaluated.meta("objective"), sort_keys=True),
        json.dumps(evaluated.geometry.to_meta(), sort_keys=True),
        str(evaluated.file.embeddings.shape[1]),
    )


def named_fields(evaluated: EvaluatedFile) -> dict[str, str]:
    """Name -> value of the fields of `group_key`."""
    return dict(zip(_FIELDS, group_key(evaluated), strict=True))


def refuse_unlike(evaluated_files: Sequence[EvaluatedFile]) -> None:
    """Checks that files of one data set and split are of the same images and training images.

    A hash that a file lacks, as those of 2021 do, is not compared.

    Raises:
        ValueError: naming two files that differ, how, and what to type.
    """
    first: dict[tuple[str, ...], EvaluatedFile] = {}
    for evaluated in evaluated_files:
        for key, words in _HASHES.items():
            value = evaluated.meta(key)
            if value is None:
                continue
            other = first.setdefault((key, evaluated.dataset, evaluated.split), evaluated)
            if other.meta(key) != value:
                raise ValueError(
                    f"{other.path} and {evaluated.path} {words} {other.meta(key)[:12]}… and "
                    f"{value[:12]}…), so their scores cannot be compared or averaged. Evaluate "
                    "runs with the same dataset.params, or add --apart to score each by itself"
                )


def group(evaluated_files: Sequence[EvaluatedFile], scores: Sequence[Scores]) -> list[Group]:
    """Groups files that may be averaged, in the order of their first file.

    These are files of equal `group_key` from runs of equal settings.
    """
    members: dict[tuple[str, ...], list[tuple[EvaluatedFile, Scores]]] = {}
    for evaluated, score in zip(evaluated_files, scores, strict=True):
        members.setdefault(group_key(evaluated), []).append((evaluated, score))
    return [one for pairs in members.values() for one in _by_settings(pairs)]


def _by_settings(pairs: Sequence[tuple[EvaluatedFile, Scores]]) -> list[Group]:
    keys = varying([evaluated.settings for evaluated, _ in pairs])
    members: dict[tuple[str | None, ...], list[tuple[EvaluatedFile, Scores]]] = {}
    for pair in pairs:
        members.setdefault(tuple(pair[0].settings.get(key) for key in keys), []).append(pair)
    groups = []
    for values, own in members.items():
        differing = {k: v for k, v in zip(keys, values, strict=True) if v is not None}
        files, scores = zip(*own, strict=True)
        groups.append(Group(files, scores, differing))
    return groups


def differences(groups: Sequence[Group]) -> list[str]:
    """Names of the fields and settings in which the groups differ."""
    keys = [group_key(g.files[0]) for g in groups]
    fields = [
        name for name, values in zip(_FIELDS, zip(*keys, strict=True), strict=True)
        if len(set(values)) > 1
    ]  # fmt: skip
    return [*fields, *varying([one.settings for one in groups])]
