"""Folders of arrays as `.npy` files, from untrusted sources: all sizes are checked.

`meta.json` says which arrays there are, with dtype and shape. It names no files: an array `ids`
lies in `ids.npy`, one whose rows are divided in `embeddings.00000.npy`, `embeddings.00001.npy`, ….
Headers and sizes of all files are compared with it before memory is allocated.
"""

import functools
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vmf_embeddings.untrusted.array_maps import LARGE, Place, map_rows, read_rows
from vmf_embeddings.untrusted.contents import truncated
from vmf_embeddings.untrusted.files import open_regular
from vmf_embeddings.untrusted.json_text import read_json
from vmf_embeddings.untrusted.npy_header import check_characters, check_header
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

META = "meta.json"
FORMAT = "vmf_embeddings folder"
SCHEMA = 1
MOST_FILES = 100_000  # of one array
_DTYPE = re.compile(r"[<>|]([biufUS])[0-9]{1,9}")


@dataclass(frozen=True)
class StoredArray:
    """What `meta.json` says of one array.

    Attributes:
        dtype: of its values.
        shape: of the whole array.
        n_files: among which its rows are divided; 0 = it lies in one file of its own name.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    n_files: int


@dataclass(frozen=True)
class ArrayFolder:
    """The content of `meta.json`, checked.

    Attributes:
        path: of the folder.
        shard_rows: rows per file of arrays whose rows are divided; the last file may have fewer.
        arrays: name -> its dtype, shape and files; of the names that were asked for.
        record: all of `meta.json`.
    """

    path: Path
    shard_rows: int
    arrays: dict[str, StoredArray]
    record: dict[str, Any]

    def read(self, name: str, kinds: str) -> np.ndarray:
        """One array; from `LARGE` bytes on it is mapped into memory, copy-on-write.

        Args:
            name: one of `arrays`.
            kinds: kinds of dtype that it may have, see `untrusted.arrays`.

        Raises:
            ValueError: a file is not as `meta.json` says, or holds other kinds of values.
        """
        stored = self.arrays[name]
        places = functools.partial(self._places, name, kinds)
        sizes = [place.size for place in places()]  # all are checked before any is mapped or read
        if sum(sizes) >= LARGE and stored.dtype.kind != "S":
            array = map_rows(places, stored.dtype, stored.shape)
        else:
            array = read_rows(places, stored.dtype, stored.shape)
        check_characters(array, name)
        return array

    def _places(self, name: str, kinds: str) -> Iterator[Place]:
        """Where the parts of an array lie, each checked and open until the next is asked for."""
        stored = self.arrays[name]
        parts = {f"{name}.npy": stored.shape}
        if stored.n_files:
            n_rows, *rest = stored.shape
            firsts = range(0, n_rows, self.shard_rows)
            parts = {
                shard_name(name, number): (min(self.shard_rows, n_rows - first), *rest)
                for number, first in enumerate(firsts)
            }
        for file, shape in parts.items():
            with self._open(file) as stream:
                yield _place(stream, file, stored.dtype, shape, kinds)

    def _open(self, file: str) -> BinaryIO:
        try:
            return open_regular(self.path / file)
        except FileNotFoundError:
            raise ValueError(
                f"the file {file} is missing: copy or write the folder again"
            ) from None


def shard_name(array: str, number: int) -> str:
    """Name of a file with some rows of an array; numbers count from 0.

    >>> shard_name("embeddings", 12)
    'embeddings.00012.npy'
    """
    return f"{array}.{number:05d}.npy"


def open_folder(path: str | Path, wanted: Mapping[str, str]) -> ArrayFolder:
    """Reads and checks `meta.json` of a folder; reads no array.

    Args:
        path: of the folder.
        wanted: names of arrays; others are passed over.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there is no `meta.json`, it is not complete, or says what cannot be.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {path}")
    if not os.path.lexists(path / META):
        raise Refused(
            f"it has no {META}: it is no folder of embeddings, or they are not complete. The "
            "command that was interrupted goes on where it stopped"
        )
    record = read_json(path / META)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise Refused(f"its {META} has no format {FORMAT!r}: it is no folder of embeddings")
    schema = record.get("schema")
    if type(schema) is not int or schema > SCHEMA:
        raise Refused(
            f"{META} has schema {printable(schema)[:20]}, this version reads {SCHEMA}: update"
        )
    if record.get("complete") is not True:
        raise Refused(f"{META} does not say that the folder is complete: write it again")
    shard_rows = record.get("shard_rows")
    if not _is_count(shard_rows) or shard_rows < 1:
        raise Refused(f"{META}: shard_rows must be a whole number above 0")
    described = record.get("arrays")
    if not isinstance(described, dict):
        raise Refused(f"{META} must have an object `arrays`")
    arrays = {
        name: _stored(name, described[name], shard_rows) for name in wanted if name in described
    }
    return ArrayFolder(path, shard_rows, arrays, record)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48


def _stored(name: str, entry: Any, shard_rows: int) -> StoredArray:
    """What `meta.json` says of an array, as far as it makes sense."""
    entry = entry if isinstance(entry, dict) else {}
    dtype, shape, n_files = entry.get("dtype"), entry.get("shape"), entry.get("files", 0)
    if not isinstance(dtype, str) or _DTYPE.fullmatch(dtype) is None:
        raise Refused(f"{META}: {name} has no dtype of numbers or texts, such as <f4")
    if not isinstance(shape, list) or len(shape) > 8 or not all(map(_is_count, shape)):
        raise Refused(f"{META}: {name} has no shape, such as [1000, 512]")
    if not _is_count(n_files) or n_files > MOST_FILES:
        raise Refused(f"{META}: {name} must lie in at most {MOST_FILES:,} files")
    if n_files and (not shape or n_files != -(-shape[0] // shard_rows)):
        raise Refused(
            f"{META}: the {shape[:1]} rows of {name} do not lie in {n_files} files of {shard_rows}"
        )
    try:
        known = np.dtype(dtype)
    except TypeError as error:
        raise Refused(f"{META}: {name} has the dtype {dtype}, which NumPy has not") from error
    return StoredArray(known, tuple(shape), n_files)


def _place(
    stream: BinaryIO, file: str, dtype: np.dtype, shape: tuple[int, ...], kinds: str
) -> Place:
    """Where the values of a file lie, after its header and its size were compared with a shape."""
    try:
        header = check_header(stream, file, kinds)
    except ValueError as error:
        raise ValueError(f"{file}: {printable(error)}") from error
    if (header.dtype, header.shape) != (dtype, shape) or header.fortran_order:
        raise ValueError(
            f"{file} has {header.dtype} {list(header.shape)}, {META} says {dtype} {list(shape)}"
        )
    size = os.fstat(stream.fileno()).st_size
    if size != header.size:
        raise ValueError(truncated(file, header.size, size))
    return Place(stream, header.start, math.prod(shape) * dtype.itemsize)
