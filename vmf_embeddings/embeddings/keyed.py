"""Arrays that lie in a file by name: in `.npz`, `.safetensors` and `.parquet`."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vmf_embeddings.embeddings.endings import FOLDER
from vmf_embeddings.embeddings.fields import KINDS_OF_KEY
from vmf_embeddings.untrusted.array_folder import open_folder
from vmf_embeddings.untrusted.arrays import BYTES, NUMBERS, TEXTS, npz_shapes, read_npz
from vmf_embeddings.untrusted.parquet import ParquetColumns
from vmf_embeddings.untrusted.parquet_schema import NUMBER, OTHER, ROWS
from vmf_embeddings.untrusted.safetensors_arrays import map_tensor, read_header

MARK = "vmf_embeddings"
"""Key of the metadata of `.safetensors` and `.parquet` files that this package wrote."""


@dataclass(frozen=True)
class KeyedFile:
    """The names of the arrays in a file, and how to read them.

    Args:
        path: of the file.
        names: of all arrays or columns.
        n_axes: name -> number of axes, of arrays that can be read: [N] has 1, [N, D] has 2.
        n_rows: name -> N.
        read: name and kinds of dtype -> the array, mapped into memory where it is of numbers alone.
        read_together: names of D columns of numbers -> [N, D]; None without columns.
        floats: names of the columns of fractions.
        metadata: what else the file says of itself.
    """

    path: Path
    names: list[str]
    n_axes: dict[str, int]
    n_rows: dict[str, int]
    read: Callable[[str, str], np.ndarray]
    read_together: Callable[[Sequence[str]], np.ndarray] | None = None
    floats: set[str] = field(default_factory=set)
    metadata: Mapping[str, str] = field(default_factory=dict)


def open_keyed(path: Path) -> KeyedFile:
    """The arrays of a file by its ending, one of `endings.KEYED`; reads none.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, or claims what it does not have; names the file.
    """
    opened = {
        ".npz": _open_npz,
        ".safetensors": _open_safetensors,
        ".parquet": _open_parquet,
        FOLDER: _open_folder,
    }
    with unreadable(path):
        return opened[path.suffix.lower()](path)


@contextlib.contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Names the file in what is wrong with its content."""
    try:
        yield
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} cannot be read as an embedding file: {error}") from error


def _open_npz(path: Path) -> KeyedFile:
    shapes = npz_shapes(path)
    known = {key: shape for key, shape in shapes.items() if shape is not None}

    def read(key: str, kinds: str) -> np.ndarray:
        with unreadable(path):
            return read_npz(path, {key: kinds}, mapped=kinds == NUMBERS)[key]

    return _of_shapes(path, list(shapes), known, read)


def _open_folder(path: Path) -> KeyedFile:
    folder = open_folder(path, KINDS_OF_KEY)
    shapes = {key: stored.shape for key, stored in folder.arrays.items()}

    def read(key: str, kinds: str) -> np.ndarray:
        with unreadable(path):
            return folder.read(key, kinds)

    meta = folder.record.get("meta")
    metadata = {} if meta is None else {"meta": json.dumps(meta)}
    return _of_shapes(path, list(shapes), shapes, read, metadata)


def _open_safetensors(path: Path) -> KeyedFile:
    header = read_header(path)

    def read(key: str, kinds: str) -> np.ndarray:
        array = map_tensor(path, key, header.tensors[key])
        return array if kinds == NUMBERS else np.array(array)

    shapes = {key: tensor.shape for key, tensor in header.tensors.items()}
    return _of_shapes(path, list(shapes), shapes, read, header.metadata)


def _of_shapes(
    path: Path,
    names: list[str],
    shapes: Mapping[str, tuple[int, ...]],
    read: Callable[[str, str], np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> KeyedFile:
    """A file of arrays whose shapes are known; of the other names none can be read."""
    n_axes = {key: len(shape) for key, shape in shapes.items()}
    n_rows = {key: shape[0] if shape else 0 for key, shape in shapes.items()}
    return KeyedFile(path, names, n_axes, n_rows, read, metadata=metadata or {})


def _open_parquet(path: Path) -> KeyedFile:
    file = ParquetColumns(path)
    usable = {name: column for name, column in file.columns.items() if column.kind != OTHER}

    def read(key: str, kinds: str) -> np.ndarray:
        return file.read(key)

    return KeyedFile(
        path,
        list(file.columns),
        {name: 2 if column.kind == ROWS else 1 for name, column in usable.items()},
        dict.fromkeys(usable, file.n_rows),
        read,
        file.read_together,
        {n for n, c in usable.items() if c.kind == NUMBER and c.words in ("float", "double")},
        file.metadata,
    )


ANY = f"{NUMBERS}{TEXTS}{BYTES}"
