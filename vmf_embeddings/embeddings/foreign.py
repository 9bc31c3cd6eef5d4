"""Embeddings from other programs: `.npz` with keys of other names, `.npy` and labels, `.csv`."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vmf_embeddings.embeddings.file import (
    SCHEMA,
    EmbeddingFile,
    check_values,
    load_embeddings,
)
from vmf_embeddings.embeddings.foreign_labels import labels_of_npy
from vmf_embeddings.embeddings.labels import integer_labels
from vmf_embeddings.embeddings.names import (
    EMBEDDING_KEYS,
    EXTRA_KEYS,
    LABEL_KEYS,
    canonical_split,
    chosen,
    present,
)
from vmf_embeddings.embeddings.table import Table, read_table
from vmf_embeddings.untrusted.arrays import BYTES, NUMBERS, TEXTS, npz_keys, read_npy, read_npz
from vmf_embeddings.untrusted.text import printable

TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_ANY = f"{NUMBERS}{TEXTS}{BYTES}"
_FLAG_WORDS = {"0": False, "1": True, "false": False, "true": True, "0.0": False, "1.0": True}
_SCALARS = ("temp", "meta", "weights")


@dataclass(frozen=True)
class Found:
    """What was read, and what to say of it.

    Args:
        file: the embeddings.
        notes: which keys were taken, and what was passed over; empty for files of this package.
        foreign: whether another program wrote the file.
        split: the split whose rows these are; None where the file does not tell splits apart.
    """

    file: EmbeddingFile
    notes: tuple[str, ...] = ()
    foreign: bool = False
    split: str | None = None


def read(
    path: str | Path,
    embeddings: str | None = None,
    labels: str | ArrayLike | None = None,
    *,
    split: str | None = None,
) -> EmbeddingFile:
    """Reads embeddings and labels of this or another program; runs no code of the file.

    Args:
        path: an `.npz`, an `.npy` [N, D], or a table `.csv` or `.tsv`, also with `.gz`.
        embeddings: key of the embeddings in an `.npz`; None = the first that is there of
            `embeddings features feats X x vectors` and the like. Of a table, columns separated by
            commas, or what the names of numbered columns begin with; None = the numbered columns.
        labels: of an `.npz` or a table, key of the labels; None = the first of `labels y ids
            targets label` and the like. Of an `.npy`, the path of their file (`.npy`, `.npz`,
            `.csv`, or `.txt` with one per line), or the labels [N] themselves; None =
            `<name>_labels` beside it, with one of these endings.
        split: "train", "valid" or "test": only these rows, by the array or column `split`.

    Returns:
        The embeddings with class numbers for labels. Labels that are no class numbers, such as
        texts, are numbered in sorted order; `meta["class_names"]` keeps what they were. Also
        `paths`, `is_query` and `is_gallery` where they are there. A file that this package wrote
        has everything that was written.

    Raises:
        FileNotFoundError: there is no such file, or no labels beside an `.npy`.
        ValueError: it is no such file, is truncated, the keys are not in it (the message lists
            those that are), or a value is of no use (the message names the row).
    """
    found = read_with_notes(path, embeddings, labels, split=split)
    if split is not None and found.foreign and found.split is None:
        raise ValueError(f"{path} has no array or column `split`: leave split={split!r} out")
    return found.file


def read_with_notes(
    path: str | Path,
    embeddings: str | None = None,
    labels: str | ArrayLike | None = None,
    *,
    split: str | None = None,
) -> Found:
    """As `read`, with notes on what was taken; `split` counts only where the file has splits."""
    path = Path(path)
    name = path.name.lower()
    if name.endswith(".npy"):
        rows, given, extras, notes = _read_npy(path, embeddings, labels)
    elif name.endswith(TABLES):
        rows, given, extras, notes = _read_table(path, embeddings, labels)
    elif name.endswith(".npz"):
        with _unreadable(path):
            keys = npz_keys(path)
        own = "embeddings" in keys and bool({"ids", "meta"} & set(keys))
        if embeddings in (None, "embeddings") and labels is None and own:
            if not {"temp", "meta"} & set(keys):
                return _plain(path, split)
            return Found(load_embeddings(path))
        rows, given, extras, notes = _read_npz(path, embeddings, labels, keys)
    else:
        raise ValueError(_unknown_ending(path))
    return _found(path, rows, given, extras, notes, split)


@contextlib.contextmanager
def _unreadable(path: Path) -> Iterator[None]:
    """Names the file in what is wrong with its archive."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as an embedding file: {error}") from error


def _unknown_ending(path: Path) -> str:
    return (
        f"{path}: expected a file .npz or .npy, or a table .csv or .tsv, got "
        f"{path.suffix or 'no ending'}. Parquet, safetensors, HDF5 and PyTorch files are not read: "
        "write one with np.savez('features.npz', embeddings=rows, labels=labels)"
    )


def _plain(path: Path, split: str | None) -> Found:
    """An `.npz` with the names of this package that another program may have written."""
    rows, given, extras, notes = _read_npz(path, None, "ids", npz_keys(path))
    found = _found(path, rows, given, extras, notes, split)
    if found.split is None:  # with logits, class weights and what else this package knows
        return Found(load_embeddings(path), found.notes, foreign=True)
    return found


Parts = tuple[np.ndarray, ArrayLike, Mapping[str, ArrayLike], list[str]]


def _read_npz(
    path: Path, embeddings: str | None, labels: str | ArrayLike | None, keys: Sequence[str]
) -> Parts:
    if not (labels is None or isinstance(labels, str)):
        raise ValueError(f"labels: expected the key of an array in {path}")
    rows = chosen(path, "embeddings", embeddings, EMBEDDING_KEYS, keys)
    classes = chosen(path, "labels", labels, LABEL_KEYS, keys)
    extras = present(EXTRA_KEYS, keys)
    wanted = {rows: NUMBERS, classes: _ANY, **dict.fromkeys(extras.values(), _ANY)}
    with _unreadable(path):
        arrays = read_npz(path, wanted)
    notes = [f"embeddings are {rows!r} and labels {classes!r} of {path}"]
    passed = [key for key in keys if key not in wanted and key not in _SCALARS]
    if passed:
        notes.append(f"not read: {printable(', '.join(passed)[:200])}")
    return (
        arrays[rows],
        arrays[classes],
        {name: arrays[key] for name, key in extras.items()},
        notes,
    )


def _read_npy(path: Path, embeddings: str | None, labels: str | ArrayLike | None) -> Parts:
    if embeddings is not None:
        raise ValueError(f"embeddings: {path} is one array and has no keys; leave it out")
    rows = read_npy(path, NUMBERS)
    if labels is not None and not isinstance(labels, str | Path):
        return rows, labels, {}, []
    given, source = labels_of_npy(path, None if labels is None else Path(labels))
    return rows, given, {}, [f"embeddings are those of {path}, labels those of {source}"]


def _read_table(path: Path, embeddings: str | None, labels: str | ArrayLike | None) -> Parts:
    if not (labels is None or isinstance(labels, str)):
        raise ValueError(f"labels: expected the name of a column in {path}")
    wanted: dict[str, tuple[str | None, Sequence[str], bool]] = {
        "labels": (labels, LABEL_KEYS, True),
        **{name: (None, keys, False) for name, keys in EXTRA_KEYS.items()},
    }
    table = read_table(path, embeddings, EMBEDDING_KEYS, wanted)
    extras: dict[str, ArrayLike] = {}
    for name, values in table.texts.items():
        if name != "labels":
            extras[name] = _flags(values, name, path) if name.startswith("is_") else values
    return table.rows, table.texts["labels"], extras, [*_notes_on(table, path), *table.notes]


def _notes_on(table: Table, path: Path) -> list[str]:
    notes = [f"embeddings are the columns {printable(table.columns)} of {path}"]
    if table.passed_over:
        names = printable(", ".join(name or "(no name)" for name in table.passed_over)[:200])
        notes.append(f"columns not read: {names}")
    return notes


def _flags(values: Sequence[str], name: str, path: Path) -> np.ndarray:
    for row, value in enumerate(values):
        if value.casefold() not in _FLAG_WORDS:
            raise ValueError(
                f"{path}: {name} must be true or false, or 0 or 1, per row; row {row} (counted "
                f"from 0) is {printable(value)[:40]!r}"
            )
    return np.array([_FLAG_WORDS[value.casefold()] for value in values])


def _found(
    path: Path, rows: np.ndarray, labels: ArrayLike, extras: Mapping[str, ArrayLike],
    notes: list[str], split: str | None,
) -> Found:  # fmt: skip
    """The file of these arrays, with the rows of `split` alone where there are splits."""
    try:
        columns = {name: np.asarray(values) for name, values in extras.items()}
        given = np.asarray(labels) if not isinstance(labels, list) else labels
        _check_rows(rows, given, columns)
        splits = columns.pop("split", None)
        if splits is not None and split is not None:
            kept = _rows_of_split(splits, split)
            notes = [*notes, f"rows of the split {split}: {len(kept):,} of {len(rows):,}"]
            rows, given = rows[kept], np.asarray(given)[kept]
            columns = {name: values[kept] for name, values in columns.items()}
        numbers, names = integer_labels(given)
        meta = None if names is None else {"schema": SCHEMA, "class_names": names}
        fields: dict[str, Any] = dict(columns)
        file = EmbeddingFile(embeddings=rows, ids=numbers, meta=meta, **fields)
        check_values(file)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    told = split if splits is not None else None
    return Found(file, tuple(notes), foreign=True, split=told)


def _check_rows(rows: np.ndarray, labels: ArrayLike, columns: Mapping[str, np.ndarray]) -> None:
    if rows.ndim != 2:
        raise ValueError(f"expected embeddings [N, D], got {list(rows.shape)}")
    if not rows.size:
        raise ValueError(f"embeddings {list(rows.shape)} is empty")
    for name, values in {"labels": np.asarray(labels), **columns}.items():
        if values.ndim != 1:
            raise ValueError(f"{name}: expected one per row [N], got {list(values.shape)}")
        if len(values) != len(rows):
            raise ValueError(
                f"embeddings {list(rows.shape)} and {name} {list(values.shape)} differ in rows"
            )


def _rows_of_split(splits: np.ndarray, split: str) -> np.ndarray:
    """Numbers of the rows of a split, whose names may be written in several ways."""
    texts = splits.astype(str) if splits.dtype.kind != "S" else np.char.decode(splits, "utf-8")
    names, places = np.unique(texts, return_inverse=True)
    matching = [i for i, name in enumerate(names) if canonical_split(name) == split]
    rows = np.flatnonzero(np.isin(places, matching))
    if not len(rows):
        held = printable(", ".join(names[:10]))
        raise ValueError(f"no row is of the split {split}; the file has {held}")
    return rows
