"""Files that lie in one piece in a larger file, as members of a tar do, read in their place."""

import io
import os
from pathlib import Path
from typing import BinaryIO, Self

from vmf_embeddings.untrusted.files import open_regular

_BUFFER = 2**17  # bytes that are read together: most photographs at once


class MemberPath(str):
    """The path of a member, `<archive>/<name>`, which knows where its bytes lie.

    Attributes:
        archive: path of the larger file.
        start: byte at which the member begins.
        size: its bytes.
    """

    archive: str
    start: int
    size: int

    def __new__(cls, path: str, archive: str, start: int, size: int) -> Self:
        """A path with a place; a plain text for everything but `open_file`."""
        made = super().__new__(cls, path)
        made.archive, made.start, made.size = archive, start, size
        return made


class _Member(io.RawIOBase):
    """Some bytes of an open file, as a file of their own."""

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        self._stream, self._start, self._size, self._place = stream, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise OSError(f"a place before the beginning of a file: {origin + offset}")
        self._place = origin + offset
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = memoryview(buffer)[: max(0, self._size - self._place)]
        n = os.preadv(self._stream.fileno(), [wanted], self._start + self._place) if wanted else 0
        self._place += n
        return n

    def close(self) -> None:
        self._stream.close()
        super().close()


def open_file(path: str | Path) -> BinaryIO:
    """Opens a regular file, or a member that a `MemberPath` names; see `open_regular`."""
    if not isinstance(path, MemberPath):
        return open_regular(path)
    return io.BufferedReader(_Member(open_regular(path.archive), path.start, path.size), _BUFFER)
