"""Means and standard errors over replications: runs of the same kind on the very same split."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vmf_embeddings.evaluation.scores import Scores
from vmf_embeddings.evaluation.subject import Subject

_FIELDS = (
    "dataset", "split", "split hash", "train identity", "selected on", "method", "objective",
    "geometry", "dimensions",
)  # fmt: skip
# meta key -> what it is a hash of; what runs must share to be compared at all
_SHARED = {
    "train_identity": "were trained on different pictures (train identity",
    "split_hash": "hold embeddings of different pictures (split hash",
}


@dataclass(frozen=True)
class Mean:
    """Mean and standard error of one score over n replications; NaNs are left out.

    One replication has no standard error: it is NaN.
    """

    mean: float
    standard_error: float
    n: int

    @property
    def error_of_2021(self) -> float:
        """As the programs of 2021 printed it: by the standard deviation over n, not n - 1."""
        return 0.0 if self.n == 1 else self.standard_error * math.sqrt(1 - 1 / max(self.n, 1))


@dataclass(frozen=True)
class Group:
    """Files that may be averaged: one method, one geometry, one split.

    Args:
        subjects: the files, at least one.
        scores: theirs.
    """

    subjects: tuple[Subject, ...]
    scores: tuple[Scores, ...]

    def mean(self, section: str, name: str) -> Mean:
        """The average of one score, and its standard error."""
        return mean_and_error([s.sections[section][name] for s in self.scores])

    def sections(self) -> dict[str, list[str]]:
        """Sections and names of the scores that every file of the group has."""
        first = self.scores[0].sections
        return {
            section: [n for n in names if all(n in s.sections[section] for s in self.scores)]
            for section, names in first.items()
            if all(section in s.sections for s in self.scores)
        }

    def notes(self) -> list[str]:
        """Why these replications may be less than they seem."""
        seeds = [subject.meta("seed") for subject in self.subjects]
        known = [seed for seed in seeds if seed is not None]
        if len(set(known)) < len(known):
            return [
                f"{len(known)} runs have {len(set(known))} different seeds: some differ in other "
                "settings, and the standard error then is not one over replications"
            ]
        return []


def mean_and_error(values: Sequence[float]) -> Mean:
    """Mean and standard error sqrt(sum (x - mean)^2 / (n - 1) / n) of values that are numbers."""
    finite = [value for value in values if not math.isnan(value)]
    if not finite:
        return Mean(math.nan, math.nan, 0)
    n = len(finite)
    error = float(np.std(finite, ddof=1) / math.sqrt(n)) if n > 1 else math.nan
    return Mean(float(np.mean(finite)), error, n)


def kind_of(subject: Subject) -> tuple[str, ...]:
    """What two files must share to be averaged, in the order of the fields' names."""
    return (
        subject.dataset,
        subject.split,
        str(subject.meta("split_hash")),
        str(subject.meta("train_identity")),
        subject.selected_on,
        str(subject.meta("method")),
        json.dumps(subject.meta("objective"), sort_keys=True),
        json.dumps(subject.geometry.to_meta(), sort_keys=True),
        str(subject.file.embeddings.shape[1]),
    )


def refuse_unlike(subjects: Sequence[Subject]) -> None:
    """Make sure that files of one data set and split are of the same pictures.

    What a file does not say (those of 2021, and older ones of this code) is not held against it.

    Raises:
        ValueError: naming two files that differ, how, and what to type.
    """
    first: dict[tuple[str, ...], Subject] = {}
    for subject in subjects:
        for key, words in _SHARED.items():
            value = subject.meta(key)
            if value is None:
                continue
            other = first.setdefault((key, subject.dataset, subject.split), subject)
            if other.meta(key) != value:
                raise ValueError(
                    f"{other.path} and {subject.path} {words} {other.meta(key)[:12]}… and "
                    f"{value[:12]}…), so their scores cannot be compared or averaged. Evaluate "
                    "runs with the same dataset.params, or add --apart to score each by itself"
                )


def group(subjects: Sequence[Subject], scores: Sequence[Scores]) -> list[Group]:
    """Sort files into groups that may be averaged, in the order of their first file."""
    members: dict[tuple[str, ...], list[tuple[Subject, Scores]]] = {}
    for subject, score in zip(subjects, scores, strict=True):
        members.setdefault(kind_of(subject), []).append((subject, score))
    return [Group(*zip(*pairs, strict=True)) for pairs in members.values()]


def differences(groups: Sequence[Group]) -> list[str]:
    """Names of the fields in which the groups differ."""
    kinds = [kind_of(g.subjects[0]) for g in groups]
    return [
        name for name, values in zip(_FIELDS, zip(*kinds, strict=True), strict=True)
        if len(set(values)) > 1
    ]  # fmt: skip
