"""Writes embeddings in the format that the ending of the file names."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from vmf_embeddings.embeddings.endings import FOLDER
from vmf_embeddings.embeddings.file import EmbeddingFile, save_embeddings
from vmf_embeddings.embeddings.folder_writing import save_folder
from vmf_embeddings.embeddings.labels import integer_labels
from vmf_embeddings.embeddings.parquet import save_parquet
from vmf_embeddings.embeddings.safetensors import save_safetensors
from vmf_embeddings.embeddings.values import refuse_missing_names
from vmf_embeddings.untrusted.files import replacing
from vmf_embeddings.untrusted.text import csv_cell

_OF_NPY = ("embeddings", "ids", "temperature", "meta")
"""Fields that a `.npy` and its labels can hold, temperature only where it is 1."""
_OF_CSV = (*_OF_NPY, "paths", "is_query", "is_gallery")


def write(file: EmbeddingFile, path: str | Path) -> None:
    """Writes embeddings so that `read` gives the same back.

    Args:
        file: what to write.
        path: an `.npz`, `.parquet`, `.safetensors` or a folder `.emb`, which hold everything; a
            `.csv`, which holds embeddings, labels, paths, queries and gallery; or an `.npy`, which
            gets `<name>_labels.npy` beside it and holds nothing else. Its folder is created.

    Raises:
        ImportError: a `.parquet` without pyarrow.
        ValueError: the ending is another one, or the file has more than this format can hold.
    """
    path = Path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise ValueError(
            f"{path}: expected a file {', '.join(_WRITERS)}, got {path.suffix or 'no ending'}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    writer(path, file)


def labels_beside(path: Path) -> Path:
    """Where the labels of an `.npy` are written."""
    return path.with_name(f"{path.stem}_labels.npy")


def _write_npz(path: Path, file: EmbeddingFile) -> None:
    save_embeddings(path, file)


def _write_folder(path: Path, file: EmbeddingFile) -> None:
    save_folder(path, file)


def _write_npy(path: Path, file: EmbeddingFile) -> None:
    _refuse_more(file, path, _OF_NPY, "an .npy holds embeddings and labels alone")
    labels = _labels_to_write(file, path)
    if labels is None and labels_beside(path).exists():
        raise ValueError(
            f"{labels_beside(path)} would be taken for the labels of {path}, which have none: "
            "remove it, or write under another name"
        )
    arrays = {path: file.embeddings} | ({} if labels is None else {labels_beside(path): labels})
    for target, array in arrays.items():
        with replacing(target) as temporary, temporary.open("wb") as stream:
            np.save(stream, array, allow_pickle=False)


def _write_csv(path: Path, file: EmbeddingFile) -> None:
    _refuse_more(file, path, _OF_CSV, "a .csv holds embeddings, labels and paths alone")
    given = {
        "path": file.paths,
        "label": _labels_to_write(file, path),
        "is_query": file.is_query,
        "is_gallery": file.is_gallery,
    }
    columns = {name: array.tolist() for name, array in given.items() if array is not None}
    for name, values in columns.items():
        _refuse_texts(values, name, path)
    dim = file.embeddings.shape[1]
    names = [f"f{number}" for number in range(dim)] if dim > 1 else ["embedding"]
    firsts = zip(*columns.values(), strict=True) if columns else ((),) * len(file.embeddings)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        stream.write(",".join([*columns, *names]) + "\n")
        for first, row in zip(firsts, file.embeddings, strict=True):
            cells = [_quoted(str(value)) for value in first]
            numbers = [str(number) for number in row]  # the fewest digits that give it back
            stream.write(",".join(cells + (numbers if dim > 1 else [f"[{numbers[0]}]"])) + "\n")


def _quoted(text: str) -> str:
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if set(',;\t"') & set(text) else text


def _refuse_texts(values: list[object], name: str, path: Path) -> None:
    """Refuses texts that a table would not give back, or that a spreadsheet would run."""
    for row, value in enumerate(values):
        if isinstance(value, str) and (csv_cell(value) != value or value.strip() != value):
            raise ValueError(
                f"{path}: {name} of row {row} (counted from 0), {value[:40]!r}, begins as a "
                "formula of a spreadsheet, or has control characters or spaces at an end: write "
                "a .parquet"
            )


def _refuse_more(file: EmbeddingFile, path: Path, fields: tuple[str, ...], holds: str) -> None:
    """Raises ValueError if a file has more than `fields`, or meta data besides class names."""
    more = [key for key, value in vars(file).items() if value is not None and key not in fields]
    more += [f"meta[{key!r}]" for key in _other_meta(file.meta)]
    if file.temperature != 1:
        more.append("temperature")
    if more:
        raise ValueError(
            f"{path}: {holds}, and this file also has {', '.join(more[:6])}. Write an .npz, a "
            ".parquet or a .safetensors, or only these two: "
            "vmf.write(vmf.EmbeddingFile(file.embeddings, file.ids), path)"
        )


def _labels_to_write(file: EmbeddingFile, path: Path) -> np.ndarray | None:
    """Class numbers or names, None where unknown; refuses what `read` would not give back."""
    names = (file.meta or {}).get("class_names")
    if names is None or file.ids is None:
        return file.ids
    refuse_missing_names(file.ids, names)
    labels = np.array([str(name) for name in names])[file.ids]
    if integer_labels(labels)[1] != list(map(str, names)):
        raise ValueError(
            f"{path}: a {path.suffix} cannot hold class names that are not sorted or have no row; "
            "write an .npz, a .parquet or a .safetensors"
        )
    return labels


def _other_meta(meta: Mapping[str, object] | None) -> list[str]:
    return [key for key in meta or {} if key not in ("class_names", "schema")]


_WRITERS: dict[str, Callable[[Path, EmbeddingFile], None]] = {
    ".npz": _write_npz,
    ".parquet": save_parquet,
    ".safetensors": save_safetensors,
    ".csv": _write_csv,
    ".npy": _write_npy,
    FOLDER: _write_folder,
}
