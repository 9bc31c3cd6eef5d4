"""A lock that one process at a time holds, by a file that is locked, never by one that exists."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Inside, no other process or thread is inside a block with the same path; others wait.

    The lock ends with the process, however that ends, so it is never left over. The empty file
    stays: removing it would give two processes a lock each.

    Args:
        path: of the file of the lock, which is created; its folder must be there.

    Raises:
        OSError: the file cannot be created or is a symbolic link.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
