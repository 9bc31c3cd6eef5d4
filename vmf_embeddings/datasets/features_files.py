"""Finds the feature vectors of a data set, with labels and splits, in one file or in several."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vmf_embeddings.datasets.base import SPLIT_NAMES
from vmf_embeddings.embeddings import endings
from vmf_embeddings.embeddings.names import canonical_split, known_splits
from vmf_embeddings.embeddings.opened import OpenedFile, open_embeddings
from vmf_embeddings.labels import read_labels
from vmf_embeddings.untrusted.text import printable

NO_SPLITS = "none"


@dataclass(frozen=True)
class Vectors:
    """The vectors of one split, or of a file whose splits are still to be made.

    Attributes:
        source: the file.
        vectors: [M, F], all vectors of the file; may be mapped from it.
        rows: int64 [N], those of this split.
        labels: int64 [N], class numbers that are unique over all splits.
        is_query: bool [N] or None, see `Split`.
        is_gallery: bool [N] or None, see `Split`.
        paths: N names of what the vectors were computed from, or None.
    """

    source: Path
    vectors: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    is_query: np.ndarray | None = None
    is_gallery: np.ndarray | None = None
    paths: np.ndarray | None = None

    def chosen(self, mask: np.ndarray) -> "Vectors":
        """Those where `mask` bool [N] is True."""
        optional = ("is_query", "is_gallery", "paths")
        kept = {
            name: None if (values := getattr(self, name)) is None else values[mask]
            for name in optional
        }
        return replace(self, rows=self.rows[mask], labels=self.labels[mask], **kept)


@dataclass(frozen=True)
class FeatureFiles:
    """What was found.

    Attributes:
        parts: split -> its vectors; "" -> all, where nothing tells splits apart.
        class_names: of class numbers 0, 1, …; None where labels are whole numbers.
        notes: what was taken for what.
    """

    parts: dict[str, Vectors]
    class_names: list[str] | None
    notes: list[str]


def split_files(folder: Path) -> dict[str, Path]:
    """Split -> its file, for files such as `train.npz` or `digits_train.npz`; {} if there are none.

    Raises:
        ValueError: a split has several files.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name = path.name.lower()
        ending = next((one for one in endings.READ if name.endswith(one)), None)
        if ending is None or name.startswith(".") or not endings.is_stored(path):
            continue
        word = name.removesuffix(ending).replace("-", "_").replace(".", "_").rpartition("_")[2]
        split = canonical_split(word)
        if split is None:
            continue
        if split in found:
            raise ValueError(
                f"{folder} has two files for {split}, {found[split].name} and {path.name}: give "
                "one of them as dataset.params.dataset_path, or put the files that belong together "
                "into a folder of their own"
            )
        found[split] = path
    return found


def read_feature_files(
    path: Path, *, embeddings: str | None, labels: str | None, split: str | None
) -> FeatureFiles:
    """Opens a file of features, or the files of a folder that are named by splits.

    Args:
        path: the file or folder.
        embeddings: see `open_embeddings`.
        labels: see `open_embeddings`.
        split: name of the array or column of splits; None = `split` or `splits`, if it is there;
            `NO_SPLITS` = the file tells none apart.

    Raises:
        FileNotFoundError: there is no such file, or none in the folder.
        ValueError: a file cannot be used; names it, and what to type.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"no features {path}: expected a file {', '.join((*endings.ARRAYS, '.csv'))}, or a "
            "folder with train.npz, valid.npz and test.npz; say where it is with dataset=features "
            "dataset.params.dataset_path=PATH"
        )
    if endings.is_stored(path) or not path.is_dir():
        opened = _opened(path, embeddings, labels, split)
        splits = _splits_of_rows(opened, path, split)
        return _numbered({"": (path, opened)}, {"": splits} if splits is not None else {})
    files = split_files(path)
    if "train" not in files:
        raise FileNotFoundError(
            f"{path} has no file of training vectors: expected train.npz (or .npy, .parquet, "
            f".safetensors, .csv), found {', '.join(f.name for f in files.values()) or 'none'}"
        )
    if split is not None:
        raise ValueError(
            f"dataset.params.split={split}: the files of {path} are splits already; leave it out"
        )
    opened_files = {
        name: (files[name], _opened(files[name], embeddings, labels, None))
        for name in SPLIT_NAMES
        if name in files
    }
    _refuse_other_lengths(opened_files)
    return _numbered(opened_files, {})


def _opened(
    path: Path, embeddings: str | None, labels: str | None, split: str | None
) -> OpenedFile:
    """A file with its labels.

    An embedding file of this package numbers the classes of an open set anew in every split: where
    it has no names of classes, labels are then the numbers that are unique over the splits.
    """
    how = {"embeddings": embeddings, "other_columns": split is not None}
    opened = open_embeddings(path, labels=labels, labelled=True, **how)
    numbered = opened.labels is not None and opened.labels.dtype.kind in "iu"
    if labels is None and numbered and "original_ids" in opened.names:
        return open_embeddings(path, labels="original_ids", **how)
    return opened


def _refuse_other_lengths(files: Mapping[str, tuple[Path, OpenedFile]]) -> None:
    lengths = {path: opened.embeddings.shape[1] for path, opened in files.values()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{path.name} {length}" for path, length in lengths.items())
        raise ValueError(f"the vectors of the splits differ in length: {shown}")


def _splits_of_rows(opened: OpenedFile, path: Path, named: str | None) -> np.ndarray | None:
    """The split of every row, by its name here; None where the file tells no splits apart."""
    if named == NO_SPLITS:
        return None
    words = opened.columns.get("split" if named is None else named)
    if words is None and named is not None:
        raise ValueError(
            f"{path} has no split {named!r}; it holds {printable(', '.join(opened.names)[:300])}. "
            f"With dataset.params.split={NO_SPLITS} rows are held out"
        )
    if words is None:
        return None
    given = np.char.decode(words, "utf-8") if words.dtype.kind == "S" else words.astype(str)
    spelled, places = np.unique(given, return_inverse=True)
    known = [canonical_split(word) for word in spelled.tolist()]
    if None in known:
        place = known.index(None)
        row = int(np.flatnonzero(places == place)[0])
        word = str(spelled[place])
        raise ValueError(
            f"{path}: row {row} (counted from 0) has the split "
            f"{printable(repr(word[:40]))}{known_splits(word)} "
            f"If these are no splits, add dataset.params.split={NO_SPLITS}, and rows are held out"
        )
    return np.array(known)[places]


def _numbered(
    files: Mapping[str, tuple[Path, OpenedFile]], splits: Mapping[str, np.ndarray]
) -> FeatureFiles:
    """The files with class numbers for labels, and rows by split where a file tells them apart."""
    given = [opened.labels for _, opened in files.values() if opened.labels is not None]
    numbers, names = read_labels(np.concatenate(given), place=_place_of(files))
    notes = [note for _, opened in files.values() for note in opened.notes]
    starts = np.cumsum([0, *map(len, given)])
    parts = {}
    for (name, (path, opened)), start in zip(files.items(), starts.tolist(), strict=False):
        n_rows = len(opened.embeddings)
        parts[name] = Vectors(
            path,
            opened.embeddings,
            np.arange(n_rows),
            numbers[start : start + n_rows],
            opened.columns.get("is_query"),
            opened.columns.get("is_gallery"),
            opened.columns.get("paths"),
        )
    if splits:
        whole, of_row = parts[""], splits[""]
        present = [name for name in SPLIT_NAMES if (of_row == name).any()]
        parts = {name: whole.chosen(of_row == name) for name in present}
    return FeatureFiles(parts, names, notes)


def _place_of(files: Mapping[str, tuple[Path, OpenedFile]]) -> Callable[[int], str]:
    """Says for a message where the label of a row of all files together stands."""

    def place(row: int) -> str:
        for path, opened in files.values():
            if row < len(opened.embeddings):
                return f"{path}: labels: row {row} (counted from 0)"
            row -= len(opened.embeddings)
        return "labels"

    return place
