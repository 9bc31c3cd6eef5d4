"""Opens a file of embeddings of any program: says which array is what, and maps it into memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from vmf_embeddings.embeddings.endings import KEYED, TABLES, ends_with
from vmf_embeddings.embeddings.foreign_labels import labels_of_npy
from vmf_embeddings.embeddings.keyed import ANY, MARK, KeyedFile, open_keyed
from vmf_embeddings.embeddings.names import (
    EMBEDDING_KEYS,
    EXTRA_KEYS,
    LABEL_KEYS,
    chosen,
    present,
    without_map,
)
from vmf_embeddings.embeddings.table import Table, Wanted, read_table
from vmf_embeddings.embeddings.table_columns import embedding_columns
from vmf_embeddings.untrusted.arrays import BYTES, NUMBERS, TEXTS, read_npy
from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.records import LONGEST_CLASS_NAME
from vmf_embeddings.untrusted.text import printable

_MOST_COLUMNS = 64  # that nobody asked for
_OF_THIS_PACKAGE = ("temp", "meta", "weights")  # that are not read, and need no word
_FLAG_WORDS = {"0": False, "1": True, "false": False, "true": True, "0.0": False, "1.0": True}


@dataclass(frozen=True)
class OpenedFile:
    """What a file of embeddings holds; N rows, D dimensions.

    Args:
        embeddings: [N, D] of any type of number. Where the format allows it (`.npy`,
            `.safetensors`, uncompressed `.npz`) they lie in the file and are mapped into memory,
            read-only.
        labels: [N] as stored, of any type; names where a file of this package names its classes;
            None where the file has none.
        columns: what else there is per row, name -> [N]: `split`, `paths`, `is_query`,
            `is_gallery` under these names, others under their own.
        notes: what was taken for what, and what was not read; sentences without full stop.
        names: of all arrays or columns in the file.
    """

    embeddings: np.ndarray
    labels: np.ndarray | None
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def open_embeddings(
    path: str | Path,
    *,
    embeddings: str | None = None,
    labels: str | ArrayLike | None = None,
    other_columns: bool = True,
    labelled: bool = False,
) -> OpenedFile:
    """Finds embeddings, labels and what else a file has per row; runs no code of the file.

    Args:
        path: an `.npz`, `.safetensors`, `.parquet`, `.npy`, or a table `.csv` or `.tsv`, also with
            `.gz`.
        embeddings: key or column of the embeddings; None = the first that is there of `embeddings
            features feats X x vectors` and the like. Of tables, also columns separated by commas,
            or what the names of numbered columns begin with.
        labels: key or column of the labels; None = the first of `labels y ids targets label` and
            the like. Of an `.npy`, the path of their file, or the labels [N] themselves; None =
            `<name>_labels` beside it.
        other_columns: whether columns besides split, paths, is_query and is_gallery are read.
        labelled: whether a file without labels is refused.

    Returns:
        What was found. Values are not looked at: see `read` for checked embeddings.

    Raises:
        FileNotFoundError: there is no such file, or no such file of labels.
        ImportError: a `.parquet` without pyarrow.
        ValueError: it is no such file, is truncated, lacks what was named, or its arrays differ in
            rows; names the file, and what to type.
    """
    path = Path(path)
    if ends_with(path, (".npy",)):
        opened = _open_npy(path, embeddings, labels, labelled)
    elif ends_with(path, TABLES):
        opened = _open_table(path, embeddings, _named(labels, path), labelled, other_columns)
    elif ends_with(path, KEYED):
        how = _named(labels, path), labelled, other_columns
        opened = _open_keyed(open_keyed(path), embeddings, *how)
    else:
        raise ValueError(_unknown_ending(path))
    opened = _without_lone_axes(opened)
    try:
        _check_rows(opened)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return opened


def _named(labels: str | ArrayLike | None, path: Path) -> str | None:
    if labels is None or isinstance(labels, str):
        return labels
    raise ValueError(f"labels: expected the name of an array or a column in {path}")


def _unknown_ending(path: Path) -> str:
    return (
        f"{path}: expected a file .npz, .npy, .parquet or .safetensors, or a table .csv or .tsv, "
        f"got {path.suffix or 'no ending'}. HDF5 and PyTorch files are not read: write one with "
        "np.savez('features.npz', embeddings=rows, labels=labels)"
    )


def _open_keyed(
    file: KeyedFile, embeddings: str | None, labels: str | None, labelled: bool, others: bool
) -> OpenedFile:
    rows, read_rows = _rows_of(file, embeddings)
    per_row = [name for name, n in file.n_axes.items() if n == 1 and name not in rows]
    usual = without_map(LABEL_KEYS, per_row, file.floats)
    candidates = [name for name in file.names if name not in rows]
    found = present({"labels": usual}, candidates)
    classes = found.get("labels")
    if labels is not None or (labelled and classes is None):
        classes = chosen(file.path, "labels", labels, usual, candidates)
    notes = [f"embeddings are {_shown(rows)!r}" + (f" and labels {classes!r}" if classes else "")]
    notes[0] += f" of {file.path}"
    extras = present(EXTRA_KEYS, [name for name in candidates if name != classes])
    wanted = {**extras}
    table = read_rows()
    if others:
        free = [name for name in per_row if name not in {classes, *extras.values()}]
        same = [name for name in free if file.n_rows[name] == len(table)]
        wanted |= {name: name for name in same[:_MOST_COLUMNS] if name not in _OF_THIS_PACKAGE}
    columns = {}
    for name, key in wanted.items():
        try:
            columns[name] = file.read(key, ANY)
        except ValueError as error:
            if name in extras:
                raise
            notes.append(f"not read: {error}")
    taken = {*rows, classes, *wanted.values(), *_OF_THIS_PACKAGE}
    if passed := [name for name in file.names if name not in taken]:
        notes.append(f"not read: {printable(', '.join(passed)[:200])}")
    given = None if classes is None else file.read(classes, ANY)
    if given is not None and classes == "ids":
        given = _with_names(file, given)
    return OpenedFile(table, given, columns, notes, file.names)


def _with_names(file: KeyedFile, ids: np.ndarray) -> np.ndarray:
    """Names instead of class numbers [N], where a file of this package names its classes."""
    text = file.metadata.get("meta", file.metadata.get(f"{MARK}.meta"))
    if text is None and file.n_axes.get("meta") == 0:
        text = str(file.read("meta", f"{TEXTS}{BYTES}"))
    names = parse_json_object(text, f"{file.path}: meta").get("class_names") if text else None
    if not isinstance(names, list) or ids.dtype.kind not in "iu" or ids.ndim != 1 or not len(ids):
        return ids
    words = [str(name) for name in names if len(str(name)) <= LONGEST_CLASS_NAME]
    is_named = 0 <= ids.min() and ids.max() < len(words) == len(names)
    return np.array(words)[ids] if is_named else ids


def _rows_of(file: KeyedFile, named: str | None) -> tuple[Sequence[str], Callable[[], np.ndarray]]:
    """The arrays or columns of embeddings, and what reads them."""
    together = file.read_together
    if together is None:
        key = chosen(file.path, "embeddings", named, EMBEDDING_KEYS, file.names)
        return [key], lambda: file.read(key, NUMBERS)
    lists = [name for name, n in file.n_axes.items() if n == 2]
    found = named if named in file.names else present({"": EMBEDDING_KEYS}, lists).get("")
    if named is None and found is None and len(lists) == 1:
        found = lists[0]
    if found is not None and (named is None or named == found) and file.n_axes.get(found) != 1:
        return [found], lambda: file.read(found, NUMBERS)
    columns = embedding_columns(file.names, named, (), file.path)
    return columns, lambda: together(columns)


def _shown(names: Sequence[str]) -> str:
    words = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]} ({len(names)})"
    return printable(words)[:200]


def _open_npy(
    path: Path, embeddings: str | None, labels: str | ArrayLike | None, labelled: bool
) -> OpenedFile:
    if embeddings is not None:
        raise ValueError(f"embeddings: {path} is one array and has no keys; leave it out")
    rows = read_npy(path, NUMBERS)
    if labels is not None and not isinstance(labels, str | Path):
        return OpenedFile(rows, np.asarray(labels))
    named = None if labels is None else Path(labels)
    given, source = labels_of_npy(path, named, labelled)
    if given is None:
        return OpenedFile(rows, None, notes=[f"embeddings are those of {path}"])
    notes = [f"embeddings are those of {path}, labels those of {source}"]
    return OpenedFile(rows, np.asarray(given), notes=notes)


def _open_table(
    path: Path, embeddings: str | None, labels: str | None, labelled: bool, others: bool
) -> OpenedFile:
    wanted: dict[str, Wanted] = {"labels": (labels, LABEL_KEYS, labelled)}
    wanted |= {name: (None, keys, False) for name, keys in EXTRA_KEYS.items()}
    n_others = _MOST_COLUMNS if others else 0
    table = read_table(path, embeddings, EMBEDDING_KEYS, wanted, n_others)
    columns = {
        name: _flags(values.tolist(), name, path) if name.startswith("is_") else values
        for name, values in table.texts.items()
    }
    classes = columns.pop("labels", None)
    notes = [*_notes_on(table, path), *table.notes]
    return OpenedFile(table.rows, classes, columns, notes, table.header)


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


def _without_lone_axes(opened: OpenedFile) -> OpenedFile:
    """Labels and columns [N, 1] as [N]."""
    flat = {
        name: values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
        for name, values in opened.columns.items()
    }
    labels = opened.labels
    if labels is not None and labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    return replace(opened, labels=labels, columns=flat)


def _check_rows(opened: OpenedFile) -> None:
    """Raises ValueError unless the embeddings are [N, D], and everything else is [N]."""
    rows = opened.embeddings
    if rows.ndim != 2:
        raise ValueError(f"expected embeddings [N, D], got {list(rows.shape)}")
    if not rows.size:
        raise ValueError(f"embeddings {list(rows.shape)} is empty")
    labels = {} if opened.labels is None else {"labels": opened.labels}
    per_row: Mapping[str, np.ndarray] = {**labels, **opened.columns}
    for name, values in per_row.items():
        if values.ndim != 1:
            raise ValueError(
                f"{name}: expected one per row [N], got {list(values.shape)}{_one_hot(values)}"
            )
        if len(values) != len(rows):
            raise ValueError(
                f"embeddings {list(rows.shape)} and {name} {list(values.shape)} differ in rows"
            )


def _one_hot(values: np.ndarray) -> str:
    """What to do where labels [N, C] have one row of a C-dimensional identity each."""
    if values.ndim != 2 or values.dtype.kind not in "biuf" or not values.size:
        return ""
    first = values[:1000]
    if not (((first == 0) | (first == 1)).all() and (first.sum(1) == 1).all()):
        return ""
    return ": they are one-hot; write the numbers of the classes, labels.argmax(1)"
