"""Failures of the machine, in words: full disks, full shared memory, what cannot be written."""

import errno
import os
import re
import shutil
from pathlib import Path

from vmf_embeddings.untrusted.full_disk import chain, full_disk_error
from vmf_embeddings.untrusted.text import printable

_SHARED_MEMORY = Path("/dev/shm")
# what torch says where its data loading processes find no shared memory
_SHARED = re.compile(
    r"shared memory object|out of shared memory|allocate shared memory|</torch_|"
    r"unable to mmap .* from file|killed by signal: Bus error",
    re.IGNORECASE,
)
_DESCRIPTORS = re.compile(r"Too many open files|items of ancdata", re.IGNORECASE)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)
_FULL = re.compile(  # of an error from a process of the data loader, which is text alone
    r"No space left on device|Disk quota exceeded|File too large"
)


def explained(error: BaseException) -> str | None:
    """What happened and what to do, if the machine ran out of something; None otherwise.

    Args:
        error: with its chain of causes: the error that says it may be covered by others.
    """
    texts = [str(one) for one in chain(error) if isinstance(one, OSError | RuntimeError)]
    full = full_disk_error(error)
    if any(map(_SHARED.search, texts)) or (full and _in_shared_memory(full.filename)):
        return (
            f"shared memory ({_SHARED_MEMORY}{_free(_SHARED_MEMORY)}) is full: the processes that "
            "load images pass them through it. Add num_workers=0 to the command, or give more of "
            "it (in Docker: --shm-size=8g)"
        )
    if full is not None or any(map(_FULL.search, texts)):
        return _of_full_disk(full)
    if any(map(_DESCRIPTORS.search, texts)):
        return (
            "too many open files: raise the limit with `ulimit -n 65536`, or add num_workers=0 to "
            "the command"
        )
    return _of_forbidden(error)


def _of_forbidden(error: BaseException) -> str | None:
    """What to do about a file or folder that may not be written, or that is no folder."""
    for one in chain(error):
        if isinstance(one, OSError) and one.errno in _FORBIDDEN and one.filename is not None:
            name = printable(os.fsdecode(one.filename)) if one.filename else "."
            return (
                f"{name} cannot be opened or written: {os.strerror(one.errno)}. Change its "
                "permissions or its place, or write to another folder (runs: VMF_RUNS=FOLDER; "
                "tables: --out, --json)"
            )
    return None


def _of_full_disk(full: OSError | None) -> str:
    name = None if full is None or full.filename is None else Path(os.fsdecode(full.filename))
    why = "No space left on device" if full is None else os.strerror(full.errno or 0)
    which = "a file" if name is None else printable(name)
    return (
        f"disk full: {which} could not be written ({why}{_free(name)}). Free space there, or write "
        "to another disk (runs: VMF_RUNS=FOLDER; caches of lists: VMF_CACHE=FOLDER; tables: --out, "
        "--json). Files of these names are as they were; the same command goes on after the last "
        "finished epoch"
    )


def _in_shared_memory(filename: object) -> bool:
    return isinstance(filename, str) and Path(filename).is_relative_to(_SHARED_MEMORY)


def _free(path: Path | None) -> str:
    """Free bytes of the file system of a path, for a message; nothing if that is unknown."""
    if path is None:
        return ""
    try:
        usage = shutil.disk_usage(path if path.is_dir() else path.parent)
    except OSError:
        return ""
    return f"; {usage.free / 2**20:,.0f} of {usage.total / 2**20:,.0f} MiB are free"
