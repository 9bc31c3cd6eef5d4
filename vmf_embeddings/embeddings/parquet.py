"""Embedding files as `.parquet`: one row per embedding, everything else as metadata.

The columns are `vector`, `label` (names of the classes, where there are any), `ids` (their numbers)
and the fields of the file. Arrays of several axes are lists of a fixed length. The metadata
`vmf_embeddings` is a JSON object of their shapes, the temperature and the class weights;
`vmf_embeddings.meta` is the file's meta data.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vmf_embeddings.embeddings.fields import KINDS_OF_KEY
from vmf_embeddings.embeddings.file import EmbeddingFile, arrays_of, file_of
from vmf_embeddings.embeddings.keyed import MARK
from vmf_embeddings.embeddings.values import refuse_missing_names
from vmf_embeddings.untrusted.files import replacing
from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.parquet import ParquetColumns, require_pyarrow

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMN_OF_KEY = {"embeddings": "vector", "paths": "path"}  # the others have the same name
_KEY_OF_COLUMN = {column: key for key, column in _COLUMN_OF_KEY.items()}
_NOT_PER_ROW = ("temp", "meta", "weights")
_ROW_GROUP = 64 * 2**20  # bytes, about
_LARGEST_WEIGHTS = 64 * 2**20  # bytes of class weights, which all stand in the footer


def save_parquet(
    path: Path,
    file: EmbeddingFile,
    more: Mapping[str, np.ndarray] | None = None,
    neighbors: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Writes everything that `file` holds.

    Args:
        path: of the file; its folder is there.
        file: what to write.
        more: further columns [N] of numbers, booleans or texts; `load_parquet` passes over them.
        neighbors: row numbers [N, k] and distances [N, k] for a column `neighbors` of structs
            {ids, distances}; a number of -1 stands for none.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: an array has a type that the format has not, or a text is no Unicode.
    """
    require_pyarrow(path)
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = arrays_of(file)
    columns: dict[str, pa.Array] = {}
    for key, array in arrays.items():
        if key not in _NOT_PER_ROW:
            columns[_COLUMN_OF_KEY.get(key, key)] = _column(array, key, path)
    names = (file.meta or {}).get("class_names")
    if names is not None and file.ids is not None and file.ids.min(initial=0) >= 0:
        refuse_missing_names(file.ids, names)
        words = _column(np.array([str(name) for name in names]), "class_names", path)
        columns["label"] = pa.DictionaryArray.from_arrays(_values(file.ids.astype(np.int32)), words)
    columns |= {name: _column(array, name, path) for name, array in (more or {}).items()}
    if neighbors is not None:
        columns["neighbors"] = _neighbors(*neighbors)
    table = pa.Table.from_arrays(
        list(columns.values()), names=list(columns)
    ).replace_schema_metadata(_metadata(arrays, path))
    row_bytes = max(1, table.nbytes // max(1, len(table)))
    with replacing(path) as temporary:
        pq.write_table(
            table,
            temporary,
            row_group_size=max(1000, _ROW_GROUP // row_bytes),
            compression="none",  # numbers of embeddings hardly shrink, and texts stay quick to read
            use_dictionary=["label"],
        )


def _column(array: np.ndarray, name: str, path: Path) -> "pa.Array":
    """An array [N, ...] as a column of values or of lists of a fixed length."""
    import pyarrow as pa

    native = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    try:
        if native.dtype.kind == "U":
            return _texts(native.tolist())
        values = _values(native.reshape(-1))
    except (pa.ArrowException, UnicodeEncodeError) as error:
        raise ValueError(f"{path}: {name} cannot be written as Parquet: {error}") from error
    if native.ndim == 1:
        return values
    width = native.size // max(1, len(native))
    if not width:
        raise ValueError(f"{path}: {name} {list(native.shape)} is empty")
    return pa.FixedSizeListArray.from_arrays(values, width)


def _values(numbers: np.ndarray) -> "pa.Array":
    """Numbers or booleans [N] as an Arrow array; `pyarrow.array` would import pandas."""
    import pyarrow as pa

    bits = numbers.dtype == np.bool_
    content = np.packbits(numbers, bitorder="little") if bits else np.ascontiguousarray(numbers)
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(numbers.dtype), len(numbers), [None, pa.py_buffer(content)]
    )


def _texts(texts: Sequence[str]) -> "pa.Array":
    """Texts [N] as an Arrow array, likewise."""
    import pyarrow as pa

    words = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, words)])
    is_large = ends[-1] >= 2**31
    offsets = ends.astype(np.int64 if is_large else np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(words))]
    return pa.Array.from_buffers(
        pa.large_string() if is_large else pa.string(), len(words), buffers
    )


def _neighbors(ids: np.ndarray, distances: np.ndarray) -> "pa.Array":
    import pyarrow as pa

    found = ids >= 0
    offsets = np.concatenate([[0], np.cumsum(found.sum(1))]).astype(np.int32)
    lists = [
        pa.ListArray.from_arrays(_values(offsets), _values(values[found]))
        for values in (ids.astype(np.int64), distances.astype(np.float64))
    ]
    return pa.StructArray.from_arrays(lists, ["ids", "distances"])


def _metadata(arrays: Mapping[str, np.ndarray], path: Path) -> dict[str, str]:
    shapes = {key: list(array.shape[1:]) for key, array in arrays.items() if array.ndim > 2}
    about: dict[str, Any] = {"schema": 1, "temperature": float(arrays["temp"]), "shapes": shapes}
    if "weights" in arrays:
        weights = arrays["weights"].astype("<f4")
        if weights.nbytes > _LARGEST_WEIGHTS:
            raise ValueError(
                f"{path}: class weights {list(weights.shape)} are too large for a .parquet, which "
                "holds rows: write an .npz or a .safetensors"
            )
        about["weights"] = {
            "shape": list(weights.shape),
            "float32": base64.b64encode(weights.tobytes()).decode(),
        }
    texts = {MARK: json.dumps(about)}
    if "meta" in arrays:
        texts[f"{MARK}.meta"] = str(arrays["meta"])
    return texts


def load_parquet(path: Path) -> EmbeddingFile:
    """Reads what `save_parquet` wrote, without trusting it; see `load_embeddings`."""
    file = ParquetColumns(path)
    about = parse_json_object(file.metadata.get(MARK, ""), f"the metadata {MARK} of {path}")
    shapes = about.get("shapes") or {}
    arrays: dict[str, np.ndarray] = {}
    for name in file.columns:
        key = _KEY_OF_COLUMN.get(name, name)
        if key in KINDS_OF_KEY and key not in _NOT_PER_ROW:
            arrays[key] = _shaped(file.read(name), shapes, key, path)
    temperature = about.get("temperature", 1.0)
    if type(temperature) not in (int, float):
        raise ValueError(f"{path}: its temperature is no number")
    arrays["temp"] = np.asarray(temperature, np.float64)
    if about.get("weights") is not None:
        arrays["weights"] = _weights(about["weights"], path)
    if f"{MARK}.meta" in file.metadata:
        arrays["meta"] = np.array(file.metadata[f"{MARK}.meta"])
    return file_of(arrays, path)


def _shaped(array: np.ndarray, shapes: Any, key: str, path: Path) -> np.ndarray:
    shape = shapes.get(key) if isinstance(shapes, dict) else None
    if shape is None:
        return array
    try:
        return array.reshape(len(array), *shape)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {key} {list(array.shape)} has not the shape {shape}") from error


def _weights(about: Any, path: Path) -> np.ndarray:
    try:
        content = base64.b64decode(about["float32"], validate=True)
        return np.frombuffer(content, "<f4").reshape(about["shape"])
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ValueError(f"{path}: its class weights are damaged ({error})") from error
