"""An embedding file to score, together with the geometry by which its rows are compared."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vmf_embeddings.embeddings import EmbeddingFile
from vmf_embeddings.evaluation.folders import dataset_of, split_of
from vmf_embeddings.evaluation.settings import Settings
from vmf_embeddings.geometry import Geometry
from vmf_embeddings.untrusted.text import printable

_LONGEST_TITLE = 300  # characters


@dataclass(frozen=True)
class EvaluatedFile:
    """An embedding file to score.

    Args:
        path: of the file.
        root: the argument of the command line under which it was found.
        file: its content.
        geometry: similarity by which its rows are compared.
        notes: lines to print about how the geometry was found, and what was read.
        foreign: whether another program wrote the file.
        split_read: split whose rows were taken from a file with several; None for other files.
        exclude_same: "camera" or "sequence": rows of a query's class with the same one are not
            compared with it; None = only rows of its image.
        settings: what the run was trained with, key -> value; empty where nothing records it.
    """

    path: Path
    root: Path
    file: EmbeddingFile
    geometry: Geometry
    notes: tuple[str, ...] = ()
    foreign: bool = False
    split_read: str | None = None
    exclude_same: str | None = None
    settings: Settings = field(default_factory=dict)

    def meta(self, key: str, default: Any = None) -> Any:
        """A value of the file's meta data; `default` if missing, as all are in files of 2021."""
        return (self.file.meta or {}).get(key, default)

    @property
    def dataset(self) -> str:
        """Name of the data set, by the meta data or else the file's name."""
        return self.meta("dataset") or dataset_of(self.path)

    @property
    def split(self) -> str:
        """Name of the split, by the meta data or else the file's name."""
        return self.split_read or self.meta("split") or split_of(self.path)

    @property
    def prefix(self) -> str:
        """Prefix of output files, by which those of several files and splits in a folder differ.

        Empty for the test split of a run; the name of the file for one of another program.
        """
        own = f"{self.path.name.replace('.', '_')}_" if self.foreign else ""
        return own + ("" if self.split == "test" else f"{self.split}_")

    @property
    def curves_name(self) -> str:
        """Name of the file of curves, `<dataset>_<split>_curves.npz`."""
        return f"{self.path.stem}_curves.npz"

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the files that an evaluation may write beside this one."""
        own = ("per_class.csv", "per_class.png", "embedding_map.png", "reliability.png",
               "neighbours.png", "concentrations.png", "dimensions.png", "risk_coverage.png",
               "verification.png", "ood.png", "corruption.png",
               "calibration.png")  # fmt: skip
        shared = ("metrics.json", "training_curves.png", self.curves_name)
        return (*shared, *(f"{self.prefix}{name}" for name in own))

    @property
    def title(self) -> str:
        """Method, objective, data set, split and dimensions in one line, for tables and figures."""
        method = self.meta("method") or f"{self.geometry.name} embeddings"
        objective = self.meta("objective") or {}
        # of a group inside the method, as in "method@method.params.objective", its place alone
        named = {key.rpartition("@")[2]: name for key, name in objective.items()}
        parts = [f"{key}={name}" for key, name in named.items() if name != "none"]
        method = " ".join([method, *parts])
        if len(method) > _LONGEST_TITLE:
            method = f"{method[:_LONGEST_TITLE]}…"
        dim = self.file.embeddings.shape[1]
        return printable(f"{method} on {self.dataset} ({self.split}), {dim}-D")

    @property
    def selected_on(self) -> str:
        """The split whose metric chose the epoch; "valid" where the file does not record it."""
        return str(self.meta("selected_on") or "valid")

    @property
    def train_counts(self) -> list[int] | None:
        """Training images of each class [C]; None where the file does not record them."""
        return self.meta("train_class_counts")

    @property
    def long_tailed(self) -> bool:
        """Whether the largest class had at least twice as many training images as the smallest."""
        counts = self.train_counts
        return counts is not None and max(counts) >= 2 * min(counts)

    @property
    def class_names(self) -> dict[int, str] | None:
        """Class label -> printable name; of open sets without names, the data set's numbers."""
        names = self.meta("class_names")
        if names is not None:
            return {number: printable(name) for number, name in enumerate(names)}
        if self.file.original_ids is None:
            return None
        numbers = zip(self.file.ids.tolist(), self.file.original_ids.tolist(), strict=True)
        return {label: str(number) for label, number in numbers}
