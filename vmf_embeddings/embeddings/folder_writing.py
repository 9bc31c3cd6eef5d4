"""Writes folders of embeddings: `.npy` files of some rows each, and a `meta.json` written last.

`untrusted.array_folder` reads them. The values of a divided array begin at byte 4096 of its files
and fill whole pages, so that all files together can be mapped into memory as one array.
"""

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from vmf_embeddings.embeddings.file import EmbeddingFile, arrays_of
from vmf_embeddings.untrusted.array_folder import FORMAT, META, SCHEMA, shard_name
from vmf_embeddings.untrusted.files import replacing

SHARD_ROWS = 16_384
"""Rows per file of divided arrays; a multiple of 1024, so that they fill whole pages of 4 KiB."""
DIVIDED = ("embeddings", "logits")
_HEADER = 4096  # bytes before the values of a divided array
_BLOCK = 2**24  # bytes that are written together
_OURS = re.compile(r"meta\.json|[a-z_]{1,20}(\.[0-9]{5,6})?\.(npy|json)")


def shard_size(dtype: np.dtype, shape: Sequence[int]) -> int:
    """Bytes of a file with some rows of a divided array.

    Args:
        dtype: of its values.
        shape: of the rows, [n, …].
    """
    return _HEADER + math.prod(shape) * dtype.itemsize


@dataclass(frozen=True)
class Written:
    """An array that lies in a folder, as `meta.json` says it.

    Attributes:
        dtype: of its values.
        shape: of the whole array.
        sha256: of each of its files, in hexadecimal.
        is_divided: whether its rows are divided among files.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    sha256: list[str]
    is_divided: bool = False

    @property
    def described(self) -> dict[str, Any]:
        """Its entry in `meta.json`."""
        files = {"files": len(self.sha256)} if self.is_divided else {}
        return {
            "dtype": npy.dtype_to_descr(self.dtype),
            "shape": list(self.shape),
            "sha256": self.sha256,
            **files,
        }


def save_folder(path: str | Path, file: EmbeddingFile, shard_rows: int = SHARD_ROWS) -> None:
    """Writes everything that `file` holds to a folder, which takes its name when it is complete.

    Args:
        path: of the folder, whose name ends in `.emb`. A folder of embeddings is replaced.
        file: what to write; arrays that are mapped into memory are copied block by block.
        shard_rows: rows per file of embeddings and logits, a multiple of 1024.

    Raises:
        ValueError: there is something of this name that is no folder of embeddings.
    """
    path = Path(path)
    refuse_other_content(path)
    temporary, old = (
        path.with_name(f".{path.name}.{os.getpid()}.{word}") for word in ("part", "old")
    )
    temporary.mkdir(parents=True)
    try:
        arrays = arrays_of(file)
        temperature, meta = float(arrays.pop("temp")), arrays.pop("meta", None)
        written = {
            key: _write_divided(temporary, key, array, shard_rows)
            if key in DIVIDED
            else write_array(temporary, key, array)
            for key, array in arrays.items()
        }
        record = None if meta is None else json.loads(str(meta))
        write_record(temporary, written, temperature, record, shard_rows)
        if path.exists():
            path.rename(old)
        try:
            temporary.rename(path)
        except OSError:
            if old.exists() and not path.exists():
                old.rename(path)
            raise
    finally:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def refuse_other_content(path: Path) -> None:
    """Refuses a path at which something else lies than files of a folder of embeddings.

    Raises:
        ValueError: naming what is there.
    """
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        raise ValueError(f"{path} is no folder of embeddings: remove it, or name another one")
    names = sorted(os.listdir(path))
    whole = [name for name in names if not name.endswith(".part")]
    foreign = [name for name in whole if _OURS.fullmatch(name) is None]
    if not any(name == META or name.startswith("embeddings.") for name in whole):
        foreign = whole
    if foreign:
        raise ValueError(
            f"{path} holds {foreign[0][:60]!r}, so it is no folder of embeddings: name another"
        )


def _write_divided(folder: Path, key: str, array: np.ndarray, shard_rows: int) -> Written:
    firsts = range(0, len(array), shard_rows)
    hashes = [
        write_shard(folder, key, number, array[first : first + shard_rows])
        for number, first in enumerate(firsts)
    ]
    return Written(array.dtype, array.shape, hashes, is_divided=True)


def write_shard(folder: Path, key: str, number: int, rows: np.ndarray) -> str:
    """Writes some rows of a divided array, and returns the SHA-256 of the file.

    Args:
        folder: of the embeddings.
        key: of the array.
        number: of the file, from 0.
        rows: [n, …].
    """
    head = _header(rows.dtype, rows.shape, _HEADER)
    return _write(folder / shard_name(key, number), head, _blocks(rows))


def write_array(folder: Path, key: str, array: np.ndarray) -> Written:
    """Writes an array to one file."""
    head = _header(array.dtype, array.shape)
    return Written(array.dtype, array.shape, [_write(folder / f"{key}.npy", head, _blocks(array))])


def write_texts(folder: Path, key: str, texts: Sequence[str]) -> Written:
    """Writes texts [N] to one file, without an array of them all in memory."""
    width = max(1, max(map(len, texts)))
    dtype, n = np.dtype(f"<U{width}"), max(1, _BLOCK // (4 * width))
    blocks = (np.array(list(texts[i : i + n]), dtype) for i in range(0, len(texts), n))
    shape = (len(texts),)
    return Written(dtype, shape, [_write(folder / f"{key}.npy", _header(dtype, shape), blocks)])


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """An array in pieces of about `_BLOCK` bytes along its first axis, in C order."""
    if array.ndim == 0:
        yield np.ascontiguousarray(array)
        return
    n = max(1, _BLOCK * len(array) // max(1, array.nbytes))
    for first in range(0, len(array), n):
        yield np.ascontiguousarray(array[first : first + n])


def _header(dtype: np.dtype, shape: tuple[int, ...], size: int | None = None) -> bytes:
    """The header of an `.npy`, version 1.0, in C order; `size` bytes long, else as NumPy aligns it.

    NumPy reads headers of up to 10,000 bytes.
    """
    said = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    text = f"{said!r}".encode("latin1")
    before = npy.MAGIC_LEN + 2
    total = size or -(-(before + len(text) + 1) // 64) * 64
    text = text.ljust(total - before - 1) + b"\n"
    return npy.magic(1, 0) + len(text).to_bytes(2, "little") + text


def _write(path: Path, head: bytes, blocks: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256(head)
    with replacing(path) as temporary, temporary.open("wb") as stream:
        stream.write(head)
        for block in blocks:
            content = block.reshape(-1).view(np.uint8).data if block.size else b""
            digest.update(content)
            stream.write(content)
    return digest.hexdigest()


def write_record(
    folder: Path,
    arrays: Mapping[str, Written],
    temperature: float,
    meta: Mapping[str, Any] | None,
    shard_rows: int,
    **more: Any,
) -> None:
    """Writes `meta.json`, with which a folder is complete.

    Args:
        folder: of the embeddings; all arrays are written.
        arrays: key -> what was written.
        temperature: see `EmbeddingFile`.
        meta: see `EmbeddingFile`.
        shard_rows: rows per file of divided arrays.
        **more: further entries.
    """
    record = {
        "format": FORMAT,
        "schema": SCHEMA,
        "shard_rows": shard_rows,
        "temperature": temperature,
        "arrays": {key: one.described for key, one in arrays.items()},
        "meta": meta,
        **more,
        "complete": True,
    }
    with replacing(folder / META) as temporary:
        temporary.write_text(json.dumps(record, sort_keys=True), encoding="utf-8")
