"""One run of a report: its file, its scores, its training, and what is worth a note."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vmf_embeddings.evaluation.context import Context
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.figures.curves import History, read_history
from vmf_embeddings.evaluation.folders import find_embedding_files
from vmf_embeddings.evaluation.loading import load_evaluated_file
from vmf_embeddings.evaluation.settings import varying
from vmf_embeddings.report.options import MOST_RUNS, ReportOptions
from vmf_embeddings.report.scored import Scored, scored
from vmf_embeddings.untrusted.text import printable

_LONGEST_NAME = 60


@dataclass
class ReportedRun:
    """A run.

    Args:
        number: from 0, in the order in which runs were named; chooses its colour.
        evaluated: its embedding file, with the geometry by which rows are compared.
        options: of the report.
        scored: its entry of `metrics.json` and its curves, or the same computed now.
        name: by which it is told from the other runs.
        notes: what the reader has to know about it.
        checkpoint: what its checkpoint records, key -> text.
        intervals: `section/name` of a score -> ends of its 95 % interval, where the entry has none.
    """

    number: int
    evaluated: EvaluatedFile
    options: ReportOptions
    scored: Scored
    name: str = ""
    notes: list[str] = field(default_factory=list)
    checkpoint: Mapping[str, str] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def entry(self) -> Mapping[str, Any]:
        """Its scores, as in `metrics.json`."""
        return self.scored.entry

    @property
    def folder(self) -> Path:
        """Where its embedding file lies."""
        return self.evaluated.path.parent

    @cached_property
    def context(self) -> Context:
        """What is read of the file."""
        return Context(self.evaluated, self.options.evaluation)

    @cached_property
    def history(self) -> History:
        """Columns of its `metrics.csv`; empty without one. What cannot be read becomes a note."""
        if self.evaluated.foreign or (self.folder / "metrics.csv").is_symlink():
            return {}
        try:
            return read_history(self.folder / "metrics.csv")
        except (OSError, ValueError) as error:
            self.notes.append(f"no training curves: {printable(error)}")
            return {}

    @cached_property
    def codes(self) -> np.ndarray:
        """Int64 [N] place of each row's class in `classes`."""
        return np.unique(self.evaluated.file.ids, return_inverse=True)[1]

    @cached_property
    def classes(self) -> np.ndarray:
        """Int64 [C] class labels of the file, ascending."""
        return np.unique(self.evaluated.file.ids)

    @cached_property
    def class_names(self) -> list[str]:
        """Names of `classes`, printable; the label itself where the file has none."""
        names = self.evaluated.class_names or {}
        return [names.get(label, str(label)) for label in self.classes.tolist()]

    def name_of(self, label: int) -> str:
        """The name of any class label, also of one that no row has."""
        return (self.evaluated.class_names or {}).get(label, str(label))

    def same_rows(self, other: "ReportedRun") -> bool:
        """Whether both files state the same images, with the same labels in the same order."""
        own, its = self.evaluated, other.evaluated
        known = own.meta("split_hash") is not None
        same = known and own.meta("split_hash") == its.meta("split_hash")
        return same and np.array_equal(own.file.ids, its.file.ids)


def load_runs(options: ReportOptions) -> list[ReportedRun]:
    """Reads the files that the options name, and scores those that were not evaluated yet.

    Raises:
        FileNotFoundError: a path leads to no embedding file.
        ValueError: there are too many, or one cannot be used.
    """
    files = find_embedding_files(options.evaluation.paths, options.evaluation.split)
    if len(files) > MOST_RUNS:
        raise ValueError(
            f"{len(files)} files were found; a report shows at most {MOST_RUNS} side by side: "
            "name fewer. For a table of many runs: vmf-embeddings summarize PATH"
        )
    evaluated = [
        load_evaluated_file(path, root, options.evaluation) for path, root in files.items()
    ]
    runs = []
    for number, one in enumerate(evaluated):
        found = scored(one, options.evaluation)
        notes = [note.removeprefix("Note: ").removesuffix(".") for note in one.notes]
        runs.append(ReportedRun(number, one, options, found, notes=[*notes, *found.notes]))
    for run, name in zip(runs, names_of(evaluated), strict=True):
        run.name = name
    return runs


def names_of(evaluated: Sequence[EvaluatedFile]) -> list[str]:
    """A short name for each file, different from the others: method, settings, or its path."""
    methods = [str(one.meta("method") or one.path.name) for one in evaluated]
    keys = varying([one.settings for one in evaluated])[:3]
    settings = [
        ", ".join(f"{key.rpartition('.')[2]}={one.settings[key]}" for key in keys
                  if key in one.settings)
        for one in evaluated
    ]  # fmt: skip
    both = [f"{m}, {s}" if s else m for m, s in zip(methods, settings, strict=True)]
    folders = [one.path.parent.name for one in evaluated]
    for names in (methods, both, folders, [str(one.path) for one in evaluated]):
        shown = [_cut(printable(name)) for name in names]
        if len(set(shown)) == len(shown):
            return shown
    return [f"{n}: {_cut(printable(name))}" for n, name in enumerate(methods, 1)]


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"
