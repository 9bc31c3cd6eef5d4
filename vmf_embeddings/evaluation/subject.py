"""What is scored: an embedding file together with the geometry that compares its rows."""

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmf_embeddings.embeddings import EmbeddingFile, load_embeddings
from vmf_embeddings.evaluation.folders import dataset_of, split_of
from vmf_embeddings.evaluation.options import GEOMETRIES, EvaluationOptions
from vmf_embeddings.geometry import Geometry, from_meta
from vmf_embeddings.untrusted.files import open_regular
from vmf_embeddings.untrusted.text import printable

_CURVED = ("poincare", "poincare-reference")
_LOG_OF_2021 = "main.train.log"
_VMF_DOOR = "vmf_embeddings.third_party.pytorch_metric_learning.compute_vmf_performance_metrics"
_OTHER_DOOR = _VMF_DOOR.replace("compute_vmf", "compute_deterministic")
_LONGEST_LOG = 64 * 2**20  # bytes
_LONGEST_TITLE = 300  # characters
# one line of yaml, or a dict printed on one line
_CURVATURE = re.compile(
    r"^[ \t]*c:[ \t]*([0-9.eE+-]{1,40})[ \t\r]*$|'c':[ \t]*([0-9.eE+-]{1,40})", re.MULTILINE
)


@dataclass(frozen=True)
class Subject:
    """One embedding file to score.

    Args:
        path: where it lies.
        root: the argument of the command line that led to it.
        file: its content.
        geometry: how its rows compare.
        notes: what the user should know about how the geometry was found.
    """

    path: Path
    root: Path
    file: EmbeddingFile
    geometry: Geometry
    notes: tuple[str, ...] = ()

    def meta(self, key: str, default: Any = None) -> Any:
        """A value of the file's meta; `default` where it (or all meta, as in 2021) is missing."""
        return (self.file.meta or {}).get(key, default)

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.meta("dataset") or dataset_of(self.path)

    @property
    def split(self) -> str:
        """Name of the split."""
        return self.meta("split") or split_of(self.path)

    @property
    def prefix(self) -> str:
        """What names of files beside this one begin with, so that splits stay apart."""
        return "" if self.split == "test" else f"{self.split}_"

    @property
    def writes(self) -> tuple[str, ...]:
        """Names of the files that scoring and drawing may write beside this one."""
        own = ("per_class.csv", "per_class.png", "embedding_map.png", "reliability.png",
               "neighbours.png")  # fmt: skip
        return ("metrics.json", "training_curves.png", *(f"{self.prefix}{name}" for name in own))

    @property
    def title(self) -> str:
        """One line for tables and pictures."""
        method = self.meta("method") or f"{self.geometry.name} embeddings"
        objective = self.meta("objective") or {}
        parts = [f"{group}={name}" for group, name in objective.items() if name != "none"]
        method = " ".join([method, *parts])
        if len(method) > _LONGEST_TITLE:
            method = f"{method[:_LONGEST_TITLE]}…"
        dim = self.file.embeddings.shape[1]
        return printable(f"{method} on {self.dataset} ({self.split}), {dim}-D")

    @property
    def selected_on(self) -> str:
        """The split whose metric chose the epoch; files that do not say were chosen on valid."""
        return str(self.meta("selected_on") or "valid")

    @property
    def train_counts(self) -> list[int] | None:
        """Training pictures [C] of each class, where the file knows them."""
        return self.meta("train_class_counts")

    @property
    def long_tailed(self) -> bool:
        """Whether the largest class was trained on at least twice the pictures of the smallest."""
        counts = self.train_counts
        return counts is not None and max(counts) >= 2 * min(counts)

    @property
    def class_names(self) -> dict[int, str] | None:
        """Names by class number, fit to be printed; an open set's own numbers without names."""
        names = self.meta("class_names")
        if names is not None:
            return {number: printable(name) for number, name in enumerate(names)}
        if self.file.original_ids is None:
            return None
        numbers = zip(self.file.ids.tolist(), self.file.original_ids.tolist(), strict=True)
        return {label: str(number) for label, number in numbers}


def load_subject(path: Path, root: Path, options: EvaluationOptions) -> Subject:
    """Read a file and settle its geometry.

    Raises:
        ValueError: the geometry is unknown, or what was typed contradicts what the file says.
    """
    file = load_embeddings(path)
    described = (file.meta or {}).get("geometry")
    if described is not None:
        _check_agreement(described, options, path)
        notes = (f"Found c = {described['c']:g}",) if "c" in described else ()
        chosen = {**described, "name": options.geometry or described.get("name")}
        return Subject(path, root, file, from_meta(chosen), notes)
    if options.geometry is None:
        raise ValueError(_unknown_geometry(path, root, options))
    _check_logits(file, options.geometry, path)
    if options.geometry not in _CURVED:
        return Subject(path, root, file, from_meta({"name": options.geometry}))
    curvature = options.curvature or curvature_from_log(path.parent)
    notes = () if options.curvature else (f"Found c = {curvature:g}",)
    return Subject(path, root, file, from_meta({"name": options.geometry, "c": curvature}), notes)


def _unknown_geometry(path: Path, root: Path, options: EvaluationOptions) -> str:
    """What to type for a file of 2021."""
    door = f"python -m {_OTHER_DOOR} {root} l2|hyperbolic|none"
    words = f"{path} does not say how its embeddings compare (files of 2021 do not). "
    if options.only is not None:
        return f"{words}Type it: {door}"
    return (
        f"{words}Add --geometry {'|'.join(GEOMETRIES)}, or use the door of its method: "
        f"python -m {_VMF_DOOR} {root}, or {door}"
    )


def _check_logits(file: EmbeddingFile, geometry: str, path: Path) -> None:
    """Refuse the wrong geometry for a file of 2021 where its logits give it away."""
    if file.logits is None or (file.logits.ndim == 3) == (geometry == "vmf"):
        return
    has_draws = file.logits.ndim == 3
    kind = "several draws per item, as von Mises-Fisher" if has_draws else "no draws, as other"
    door = _VMF_DOOR if has_draws else _OTHER_DOOR
    raise ValueError(
        f"{path} has logits {list(file.logits.shape)}: {kind} methods wrote them in 2021, "
        f"not {geometry} ones. Use python -m {door} RUN"
    )


def _check_agreement(described: dict[str, Any], options: EvaluationOptions, path: Path) -> None:
    """Refuse arguments that contradict the file, and a door that is not for its kind."""
    name = described.get("name")
    if options.only == "deterministic" and name == "vmf":
        raise ValueError(
            f"{path} holds von Mises-Fisher embeddings, whose scores are means over draws: "
            f"use python -m {_VMF_DOOR} RUN"
        )
    if options.only == "vmf" and name != "vmf":
        raise ValueError(
            f"{path} holds {name} embeddings, not von Mises-Fisher ones: "
            f"use python -m {_OTHER_DOOR} RUN"
        )
    if options.geometry not in (None, name, f"{name}-reference"):
        raise ValueError(
            f"{path} says that its embeddings compare as {name}, the command line says "
            f"{options.geometry}. The file was written by the method itself: leave the geometry out"
        )
    if options.curvature is not None and described.get("c", options.curvature) != options.curvature:
        raise ValueError(
            f"{path} says c = {described['c']:g}, --curvature says {options.curvature:g}: "
            "leave --curvature out"
        )


def curvature_from_log(folder: Path) -> float:
    """The c that the training of 2021 wrote into its log.

    Raises:
        ValueError: no log, or no c in it.
    """
    log = folder / _LOG_OF_2021
    match = _CURVATURE.search(_text_of(log)) if log.exists() else None
    if match is None:
        raise ValueError(
            f"{folder} does not say the curvature of its hyperbolic embeddings: neither meta in "
            f"the file nor 'c: …' in {log}. Add --curvature C (2021's default was 1e-05)"
        )
    return _curvature(match[1] or match[2], log)


def _text_of(log: Path) -> str:
    with open_regular(log) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > _LONGEST_LOG:
            raise ValueError(
                f"{log} has {size} bytes, more than any log of 2021: add --curvature C"
            )
        return stream.read(_LONGEST_LOG).decode(errors="replace")


def _curvature(word: str, log: Path) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"{log} says c: {word}, expected a number above 0: add --curvature C")
    return value
