"""Tensors of `.safetensors` files as NumPy arrays, mapped into memory, without torch.

The format (https://huggingface.co/docs/safetensors): 8 bytes with the length of the header, little
endian; the header, a JSON object of name -> dtype, shape and place; the values of all tensors. The
name `__metadata__` has texts instead.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vmf_embeddings.untrusted.contents import kind_of
from vmf_embeddings.untrusted.files import open_regular, replacing
from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

LARGEST_HEADER = 100 * 10**6  # bytes, as the format limits it
_DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "F16": "<f2", "U32": "<u4",
    "I32": "<i4", "F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8",
}  # fmt: skip
_NAME_OF = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
_BFLOAT16 = "BF16"  # NumPy has no such type
_METADATA = "__metadata__"


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies: `start` counts bytes from the beginning of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class SafetensorsHeader:
    """What the header of a file says, after it was compared with the size of the file."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_header(path: str | Path) -> SafetensorsHeader:
    """The header of a file.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: it is no such header, or claims places that the file does not have.
    """
    with open_regular(path) as stream:
        return check_header(stream, os.fstat(stream.fileno()).st_size, str(path))


def check_header(stream: BinaryIO, size: int, path: str) -> SafetensorsHeader:
    """The header of an open file of `size` bytes, called `path` in messages; see `read_header`."""
    start = stream.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > min(size - 8, LARGEST_HEADER):
        kind = kind_of(start)
        claim = f"its header claims {length} bytes, the file has {size}"
        raise Refused(
            f"{path} is no .safetensors file: {f'its content is {kind}' if kind else claim}"
        )
    try:
        text = stream.read(length).decode()
    except UnicodeDecodeError as error:
        raise Refused(f"{path} is no .safetensors file: its header is not text") from error
    header = parse_json_object(text, f"the header of {path}", unique=True)
    metadata = header.pop(_METADATA, None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise Refused(f"{path}: {_METADATA} of its header must have texts alone")
    tensors = {name: _tensor(name, entry, 8 + length, path) for name, entry in header.items()}
    _check_places(tensors, 8 + length, size, path)
    return SafetensorsHeader(tensors, metadata)


def _tensor(name: str, entry: Any, start: int, path: str) -> Tensor:
    fields = entry if isinstance(entry, dict) else {}
    dtype, shape, place = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not (isinstance(dtype, str) and _are_counts(shape) and _are_counts(place, 2)):
        raise Refused(
            f"{path}: the header's entry of {printable(name)[:60]!r} has no dtype, shape and "
            "data_offsets as .safetensors files have them"
        )
    tensor = Tensor(dtype, tuple(shape), start + place[0], start + place[1])
    itemsize = 2 if dtype == _BFLOAT16 else np.dtype(_DTYPES.get(dtype, "V0")).itemsize
    if itemsize and tensor.end - tensor.start != math.prod(shape) * itemsize:
        raise Refused(
            f"{path}: {printable(name)[:60]!r} claims the shape {list(shape)} of {dtype} in "
            f"{tensor.end - tensor.start} bytes"
        )
    return tensor


def _are_counts(values: Any, n: int | None = None) -> bool:
    if not isinstance(values, list) or len(values) > 32 or n not in (None, len(values)):
        return False
    return all(type(value) is int and 0 <= value < 2**62 for value in values)


def _check_places(tensors: Mapping[str, Tensor], start: int, size: int, path: str) -> None:
    """The tensors lie one after the other, and the last ends with the file."""
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != start or tensor.end < start:
            raise Refused(
                f"{path}: {printable(name)[:60]!r} does not begin where the one before it ends"
            )
        start = tensor.end
    if start > size:
        raise Refused(
            f"{path} is truncated: its tensors take {start:,} bytes, the file has {size:,}: copy "
            "or write the file again"
        )
    if start < size:
        raise Refused(f"{path}: {size - start:,} bytes follow the last tensor")


def map_tensor(path: str | Path, name: str, tensor: Tensor) -> np.ndarray:
    """A tensor as an array, mapped into memory, read-only; bfloat16 becomes float32 in memory.

    Args:
        path: of the file.
        name: of the tensor, for messages.
        tensor: of `read_header`.

    Raises:
        Refused: of a type that NumPy has not, such as 8-bit floats.
    """
    is_bfloat16 = tensor.dtype == _BFLOAT16
    if not is_bfloat16 and tensor.dtype not in _DTYPES:
        raise Refused(
            f"{path}: {printable(name)[:60]!r} has dtype {printable(tensor.dtype)[:20]}, expected "
            f"one of {', '.join([*_DTYPES, _BFLOAT16])}: write it as float32"
        )
    dtype = np.dtype("<u2" if is_bfloat16 else _DTYPES[tensor.dtype])
    if tensor.start == tensor.end:  # an axis is 0: the others could be beyond all arrays
        if max(tensor.shape) >= 2**31:
            raise Refused(f"{path}: {printable(name)[:60]!r} is empty: {list(tensor.shape)}")
        return np.zeros(tensor.shape, np.float32 if is_bfloat16 else dtype)
    with open_regular(path) as stream:
        array = np.memmap(stream, dtype, "r", tensor.start, tensor.shape)
    if is_bfloat16:  # the upper half of a float32
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.view(np.uint8) != 0 if array.dtype == np.bool_ else array


def write_arrays(
    path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Writes arrays and texts under a temporary name and renames the file.

    Args:
        path: of the file; its folder is there.
        arrays: name -> numbers or booleans, of any shape.
        metadata: name -> text.

    Raises:
        ValueError: an array has a type that the format has not, or the texts are too long.
    """
    entries: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    place = 0
    for name, array in arrays.items():
        dtype = _NAME_OF.get(array.dtype.newbyteorder("<"))
        if dtype is None:
            raise ValueError(f"{path}: {name} has dtype {array.dtype}, which .safetensors has not")
        offsets = [place, place + array.nbytes]
        entries[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        place = offsets[1]
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)  # so that the values are aligned
    if len(header) > LARGEST_HEADER:
        raise ValueError(
            f"{path}: the texts take {len(header):,} bytes, a .safetensors file holds at most "
            f"{LARGEST_HEADER:,}: write a .parquet or an .npz"
        )
    with replacing(path) as temporary, temporary.open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        for array in arrays.values():
            stream.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
