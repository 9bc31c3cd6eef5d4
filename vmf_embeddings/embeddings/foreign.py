"""Embeddings from other programs, in files of any format, as checked `EmbeddingFile`s."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vmf_embeddings.embeddings.endings import FOLDER, ends_with
from vmf_embeddings.embeddings.file import (
    KINDS_OF_KEY,
    SCHEMA,
    EmbeddingFile,
    check_values,
    load_embeddings,
)
from vmf_embeddings.embeddings.keyed import MARK, open_keyed, unreadable
from vmf_embeddings.embeddings.labels import integer_labels
from vmf_embeddings.embeddings.names import EXTRA_KEYS, canonical_split
from vmf_embeddings.embeddings.opened import OpenedFile, open_embeddings
from vmf_embeddings.embeddings.parquet import load_parquet
from vmf_embeddings.embeddings.safetensors import load_safetensors
from vmf_embeddings.untrusted.array_folder import open_folder
from vmf_embeddings.untrusted.arrays import npz_keys
from vmf_embeddings.untrusted.text import printable


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
        path: an `.npz`, `.parquet` or `.safetensors`, a folder `.emb`, an `.npy` [N, D], or a
            table `.csv` or `.tsv`, also with `.gz`.
        embeddings: key or column of the embeddings; None = the first that is there of `embeddings
            features feats X x vectors` and the like. Of a table or a `.parquet`, also columns
            separated by commas, or what the names of numbered columns begin with; None = the
            numbered columns.
        labels: key or column of the labels; None = the first of `labels y ids targets label` and
            the like. Of an `.npy`, the path of their file (`.npy`, `.npz`, `.csv`, or `.txt` with
            one per line), or the labels [N] themselves; None = `<name>_labels` beside it, with one
            of these endings.
        split: "train", "valid" or "test": only these rows, by the array or column `split`.

    Returns:
        The embeddings with class numbers for labels, `ids` None where there are no labels. Labels
        that are no class numbers, such as texts, are numbered in sorted order;
        `meta["class_names"]` keeps what they were. Also `paths`, `is_query` and `is_gallery` where
        they are there. A file that this package wrote has everything that was written; where it is
        an `.npz` or a folder, its large arrays stay in the file, mapped into memory, and whether
        their numbers are finite is not looked at: see `check_values`.

    Raises:
        FileNotFoundError: there is no such file, or no such file of labels.
        ValueError: it is no such file, is truncated, the keys are not in it (the message lists
            those that are), or a value is of no use (the message names the row).
    """
    found = _read_with_notes(Path(path), embeddings, labels, split, labelled=False)
    if split is not None and found.foreign and found.split is None:
        raise ValueError(f"{path} has no array or column `split`: leave split={split!r} out")
    return found.file


def read_with_notes(
    path: str | Path,
    embeddings: str | None = None,
    labels: str | ArrayLike | None = None,
    *,
    split: str | None = None,
    labelled: bool = True,
) -> Found:
    """As `read`, with notes on what was taken; all numbers are finite.

    `split` counts only where the file has splits, and a file without labels is refused unless
    `labelled` is false.
    """
    found = _read_with_notes(Path(path), embeddings, labels, split, labelled)
    try:
        check_values(found.file)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return found


def _read_with_notes(
    path: Path, embeddings: str | None, labels: str | ArrayLike | None, split: str | None,
    labelled: bool,
) -> Found:  # fmt: skip
    if embeddings in (None, "embeddings") and labels is None:
        own = _of_this_package(path, split)
        if own is not None:
            return own
    return _foreign(path, embeddings, labels, split, labelled)


def _of_this_package(path: Path, split: str | None) -> Found | None:
    """A file with the keys of this package, of today or of 2021; None for others."""
    if ends_with(path, (FOLDER,)):
        file = load_embeddings(path)
        further = sorted({*open_folder(path, {}).record["arrays"]} - {*KINDS_OF_KEY})
        notes = [f"not read of {path}: {printable(', '.join(further)[:200])}"] if further else ()
        return Found(file, tuple(notes))
    load = {".parquet": load_parquet, ".safetensors": load_safetensors}.get(path.suffix.lower())
    if load is not None:
        if MARK not in open_keyed(path).metadata:
            return None
        file = load(path)
        return Found(file, foreign="geometry" not in (file.meta or {}))
    if not path.name.lower().endswith(".npz"):
        return None
    with unreadable(path):
        keys = set(npz_keys(path))
    if "embeddings" not in keys or not {"ids", "meta", "temp"} & keys:
        return None
    if {"temp", "meta"} & keys:
        return Found(load_embeddings(path))
    found = _foreign(path, None, "ids", split, labelled=True)
    if found.split is None:  # with logits, class weights and what else this package knows
        return Found(load_embeddings(path), found.notes, foreign=True)
    return found


def _foreign(
    path: Path, embeddings: str | None, labels: str | ArrayLike | None, split: str | None,
    labelled: bool,
) -> Found:  # fmt: skip
    """The file that other programs wrote, with the rows of `split` alone where there are splits."""
    opened = open_embeddings(
        path, embeddings=embeddings, labels=labels, other_columns=False, labelled=labelled
    )
    given = labels if isinstance(labels, list) else opened.labels  # [nan, "a"] keeps its types
    try:
        return _found(opened, given, split)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _found(opened: OpenedFile, given: ArrayLike | None, split: str | None) -> Found:
    rows, notes = opened.embeddings, list(opened.notes)
    columns = {name: opened.columns[name] for name in EXTRA_KEYS if name in opened.columns}
    splits = columns.pop("split", None)
    if splits is not None and split is not None:
        kept = _rows_of_split(splits, split)
        notes.append(f"rows of the split {split}: {len(kept):,} of {len(rows):,}")
        rows = rows[kept]
        given = None if given is None else np.asarray(given)[kept]
        columns = {name: values[kept] for name, values in columns.items()}
    numbers, names = (None, None) if given is None else integer_labels(given)
    meta = None if names is None else {"schema": SCHEMA, "class_names": names}
    fields: dict[str, Any] = dict(columns)
    file = EmbeddingFile(embeddings=rows, ids=numbers, meta=meta, **fields)
    check_values(file)
    told = split if splits is not None else None
    return Found(file, tuple(notes), foreign=True, split=told)


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
