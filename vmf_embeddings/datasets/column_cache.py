"""Columns that took a while to read: kept in the cache of the user, and opened from there."""

import contextlib
import io
import json
import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from vmf_embeddings.datasets.texts import FileBytes
from vmf_embeddings.untrusted.full_disk import full_disk_error
from vmf_embeddings.untrusted.json_text import read_json
from vmf_embeddings.untrusted.refused import Refused

_RECORD = "words.json"  # the words, and the sizes of the other files

Parse = Callable[[Mapping[str, BinaryIO]], list[str]]
"""Writes `paths`, each with a newline, and the columns to sinks of these names; returns words."""


class Columns(NamedTuple):
    """Paths, columns of numbers by their names, and words."""

    paths: bytes | FileBytes
    values: dict[str, np.ndarray]
    words: list[str]


def columns_of(name: str | None, dtypes: Mapping[str, str], parse: Parse) -> Columns:
    """What `parse` finds; under a name, it is called once for as long as the cache is kept.

    Args:
        name: in the cache, which stands for the content that is parsed; None = not cached.
        dtypes: column -> type of its numbers; with `ends` of the paths, and `codes` of their words.
        parse: see `Parse`.
    """
    if name is None:
        sinks = {column: io.BytesIO() for column in ("paths", *dtypes)}
        words = parse(sinks)
        values = {n: np.frombuffer(sinks[n].getvalue(), dtype) for n, dtype in dtypes.items()}
        return Columns(sinks["paths"].getvalue(), values, words)
    folder = cache_folder() / name
    found = _opened(folder, dtypes) if folder.exists() else None
    if found is not None:
        return found
    shutil.rmtree(folder, ignore_errors=True)  # the machine stopped while it was written
    return _parse_into(folder, dtypes, parse)


def cache_folder() -> Path:
    """Where columns are cached: `$VMF_CACHE/lists`, else a folder of the user's cache."""
    own = os.environ.get("VMF_CACHE")
    general = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(own) if own else Path(general) / "vmf_embeddings") / "lists"


def give_back(array: np.ndarray) -> None:
    """Drops the pages of an array that lies in a file from memory, until they are needed again."""
    base = array.base
    base = base.obj if isinstance(base, memoryview) else base
    if isinstance(base, mmap.mmap) and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)


def _parse_into(folder: Path, dtypes: Mapping[str, str], parse: Parse) -> Columns:
    """Parses into a folder; where the cache cannot be written to, it serves this process alone."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".new.", dir=folder.parent))
    except OSError:
        made = Path(tempfile.mkdtemp(prefix="vmf_embeddings_list."))
    try:
        with contextlib.ExitStack() as stack:
            names = ("paths", *dtypes)
            words = parse({n: stack.enter_context((made / n).open("wb")) for n in names})
        record = {"words": words, "sizes": {n: (made / n).stat().st_size for n in names}}
        (made / _RECORD).write_text(json.dumps(record), encoding="utf-8")
        columns = _columns(made, dtypes, words)
        with contextlib.suppress(OSError):  # no cache, or another process was faster
            made.rename(folder)
        return columns
    except OSError as error:
        full = full_disk_error(error)
        if full is None:
            raise
        raise OSError(full.errno, os.strerror(full.errno or 0), str(folder.parent)) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _opened(folder: Path, dtypes: Mapping[str, str]) -> Columns | None:
    """The columns in a folder; None if they are not all there, as long as they were written."""
    try:
        record = read_json(folder / _RECORD)
        sizes = {name: (folder / name).stat().st_size for name in ("paths", *dtypes)}
        if not isinstance(record, dict) or record.get("sizes") != sizes:
            return None
        return _columns(folder, dtypes, record["words"])
    except (OSError, Refused):
        return None


def _columns(folder: Path, dtypes: Mapping[str, str], words: list[str]) -> Columns:
    values = {name: _mapped(folder / name, dtype) for name, dtype in dtypes.items()}
    return Columns(FileBytes(folder / "paths"), values, words)


def _mapped(path: Path, dtype: str) -> np.ndarray:
    if not path.stat().st_size:
        return np.zeros(0, dtype)
    with path.open("rb") as stream:
        return np.frombuffer(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ), dtype)
