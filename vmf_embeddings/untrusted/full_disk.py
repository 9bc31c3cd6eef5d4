"""Finds the full disk behind an error, which other errors may have covered."""

import errno
from collections.abc import Iterator

# no space, the user's quota, the largest file that this process or file system may write
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those that it was raised from or while."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def full_disk_error(error: BaseException) -> OSError | None:
    """The `OSError` of a full disk in the chain of an error; None if there is none.

    PyTorch's writer of checkpoints covers it by an error of its own.
    """
    found = [one for one in chain(error) if isinstance(one, OSError) and one.errno in FULL]
    return found[0] if found else None
