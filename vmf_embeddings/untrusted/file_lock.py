"""A lock that one process at a time holds, by a file that is locked, never by one that exists."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class Held(Exception):
    """Another process or thread holds the lock."""


@contextlib.contextmanager
def locked(path: str | Path, *, wait: bool = True) -> Iterator[None]:
    """Inside, no other process or thread is inside a block with the same path; others wait.

    The lock ends with the process, however that ends, so it is never left over. The empty file
    stays: removing it would give two processes a lock each.

    Args:
        path: of the file of the lock, which is created; its folder must be there.
        wait: whether to wait for another holder.

    Raises:
        Held: there is another holder, with `wait=False`.
        OSError: the file cannot be created or is a symbolic link.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Held(str(path)) from error
        yield
    finally:
        os.close(descriptor)
