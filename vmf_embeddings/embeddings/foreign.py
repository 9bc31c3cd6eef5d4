"""Embeddings from other programs: `.npz` with keys of other names, and `.npy` beside its labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from vmf_embeddings.embeddings.file import (
    SCHEMA,
    EmbeddingFile,
    load_embeddings,
    save_embeddings,
)
from vmf_embeddings.embeddings.labels import integer_labels
from vmf_embeddings.untrusted.arrays import NUMBERS, TEXTS, npz_keys, read_npy, read_npz
from vmf_embeddings.untrusted.files import replacing
from vmf_embeddings.untrusted.text import printable

EMBEDDING_KEYS = ("embeddings", "features", "feats", "X", "x", "vectors")
LABEL_KEYS = ("labels", "y", "ids", "targets", "label")
_LABEL_KINDS = f"{NUMBERS}{TEXTS}S"
_OF_NPY = {"embeddings", "ids", "temperature", "meta"}
"""Fields that a `.npy` and its labels can hold, temperature only where it is 1."""


def read(
    path: str | Path, embeddings: str | None = None, labels: str | ArrayLike | None = None
) -> EmbeddingFile:
    """Reads embeddings and labels of this or another program; runs no code of the file.

    Args:
        path: an `.npz`, or an `.npy` [N, D].
        embeddings: key of the embeddings in an `.npz`; None = the first that is there of
            `embeddings features feats X x vectors`.
        labels: of an `.npz`, key of the labels; None = the first of `labels y ids targets label`.
            Of an `.npy`, the path of a second `.npy`, or the labels [N] themselves; None =
            `<name>_labels.npy` beside it.

    Returns:
        The embeddings with class numbers for labels. Labels that are no class numbers, such as
        texts, are numbered in sorted order; `meta["class_names"]` keeps what they were. A file
        that this package wrote has everything that was written.

    Raises:
        FileNotFoundError: there is no such file, or no labels beside an `.npy`.
        ValueError: it is no such file, or the keys are not in it; the message lists those that are.
    """
    path = Path(path)
    if path.suffix == ".npy":
        return _read_npy(path, embeddings, labels)
    if path.suffix != ".npz":
        raise ValueError(f"{path}: expected a file .npz or .npy, got {path.suffix or 'no ending'}")
    keys = npz_keys(path)
    if embeddings is None and labels is None and {"embeddings", "ids"} <= set(keys):
        return load_embeddings(path)
    if not (labels is None or isinstance(labels, str)):
        raise ValueError(f"labels: expected the key of an array in {path}")
    rows = _chosen(path, "embeddings", embeddings, EMBEDDING_KEYS, keys)
    classes = _chosen(path, "labels", labels, LABEL_KEYS, keys)
    arrays = read_npz(path, {rows: NUMBERS, classes: _LABEL_KINDS})
    return _file(arrays[rows], arrays[classes], str(path))


def write(file: EmbeddingFile, path: str | Path) -> None:
    """Writes embeddings so that `read` gives the same back.

    Args:
        file: what to write.
        path: an `.npz`, which holds everything; or an `.npy`, which gets `<name>_labels.npy` beside
            it and holds nothing else.

    Raises:
        ValueError: the ending is another one, or the file has more than an `.npy` can hold.
    """
    path = Path(path)
    if path.suffix == ".npz":
        save_embeddings(path, file)
    elif path.suffix == ".npy":
        _write_npy(file, path)
    else:
        raise ValueError(f"{path}: expected a file .npz or .npy, got {path.suffix or 'no ending'}")


def _chosen(
    path: Path, argument: str, named: str | None, usual: Sequence[str], keys: Sequence[str]
) -> str:
    """The key that was named, or the first usual one that is there."""
    for key in usual if named is None else (named,):
        if key in keys:
            return key
    held = printable(", ".join(sorted(keys))[:500])
    wanted = f"one of {', '.join(usual)}" if named is None else repr(named)
    raise ValueError(
        f"{path} has no {argument}: expected the key {wanted}, it holds {held}. Name it: "
        f"vmf.read(path, {argument}=KEY)"
    )


def _read_npy(path: Path, embeddings: str | None, labels: str | ArrayLike | None) -> EmbeddingFile:
    if embeddings is not None:
        raise ValueError(f"embeddings: {path} is one array and has no keys; leave it out")
    rows = read_npy(path, NUMBERS)
    if labels is None or isinstance(labels, str | Path):
        beside = _labels_beside(path) if labels is None else Path(labels)
        if not beside.exists():
            raise FileNotFoundError(
                f"no labels {beside} for {path}: give labels=PATH or labels=[…], one per row"
            )
        labels = read_npy(beside, _LABEL_KINDS)
    return _file(rows, labels, str(path))


def _file(rows: np.ndarray, labels: ArrayLike, source: str) -> EmbeddingFile:
    if rows.ndim != 2:
        raise ValueError(f"{source}: expected embeddings [N, D], got {list(rows.shape)}")
    try:
        numbers, names = integer_labels(labels)
        meta = None if names is None else {"schema": SCHEMA, "class_names": names}
        return EmbeddingFile(embeddings=rows, ids=numbers, meta=meta)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _labels_beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}_labels.npy")


def _write_npy(file: EmbeddingFile, path: Path) -> None:
    labels = _labels_to_write(file, path)
    for target, array in ((path, file.embeddings), (_labels_beside(path), labels)):
        with replacing(target) as temporary, temporary.open("wb") as stream:
            np.save(stream, array, allow_pickle=False)


def _labels_to_write(file: EmbeddingFile, path: Path) -> np.ndarray:
    """The labels of an `.npy`; refuses what `read` would not give back."""
    names = (file.meta or {}).get("class_names")
    more = [key for key, value in vars(file).items() if value is not None and key not in _OF_NPY]
    more += [f"meta[{key!r}]" for key in _other_meta(file.meta)]
    if file.temperature != 1:
        more.append("temperature")
    if more:
        raise ValueError(
            f"{path}: an .npy holds embeddings and labels alone, and this file also has "
            f"{', '.join(more[:6])}. Write an .npz, or only these two: "
            "vmf.write(vmf.EmbeddingFile(file.embeddings, file.ids), path)"
        )
    if names is None:
        return file.ids
    labels = np.array([str(name) for name in names])[file.ids]
    if integer_labels(labels)[1] != list(map(str, names)):
        raise ValueError(
            f"{path}: an .npy cannot hold class names that are not sorted or have no row; "
            "write an .npz"
        )
    return labels


def _other_meta(meta: Mapping[str, object] | None) -> list[str]:
    return [key for key in meta or {} if key not in ("class_names", "schema")]
