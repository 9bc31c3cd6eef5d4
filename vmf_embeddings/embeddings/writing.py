"""Writes embeddings as `.npz`, which holds everything, or as `.npy` beside their labels."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vmf_embeddings.embeddings.file import EmbeddingFile, save_embeddings
from vmf_embeddings.embeddings.labels import integer_labels
from vmf_embeddings.embeddings.values import refuse_missing_names
from vmf_embeddings.untrusted.files import replacing

_OF_NPY = {"embeddings", "ids", "temperature", "meta"}
"""Fields that a `.npy` and its labels can hold, temperature only where it is 1."""


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


def labels_beside(path: Path) -> Path:
    """Where the labels of an `.npy` are written."""
    return path.with_name(f"{path.stem}_labels.npy")


def _write_npy(file: EmbeddingFile, path: Path) -> None:
    labels = _labels_to_write(file, path)
    arrays = {path: file.embeddings} | ({} if labels is None else {labels_beside(path): labels})
    for target, array in arrays.items():
        with replacing(target) as temporary, temporary.open("wb") as stream:
            np.save(stream, array, allow_pickle=False)


def _labels_to_write(file: EmbeddingFile, path: Path) -> np.ndarray | None:
    """The labels of an `.npy`, None where unknown; refuses what `read` would not give back."""
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
    if names is None or file.ids is None:
        return file.ids
    refuse_missing_names(file.ids, names)
    labels = np.array([str(name) for name in names])[file.ids]
    if integer_labels(labels)[1] != list(map(str, names)):
        raise ValueError(
            f"{path}: an .npy cannot hold class names that are not sorted or have no row; "
            "write an .npz"
        )
    return labels


def _other_meta(meta: Mapping[str, object] | None) -> list[str]:
    return [key for key in meta or {} if key not in ("class_names", "schema")]
