"""The decompressed bytes of a tar archive, with limits on how many are read."""

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable
from typing import BinaryIO, cast

# first bytes of a compressed file -> its reader; any other file is read as uncompressed tar
_READERS: dict[bytes, Callable[[BinaryIO], BinaryIO]] = {
    b"\x1f\x8b": lambda stream: cast("BinaryIO", gzip.GzipFile(fileobj=stream)),
    b"BZh": lambda stream: cast("BinaryIO", bz2.BZ2File(stream)),
    b"\xfd7zXZ\x00": lambda stream: cast("BinaryIO", lzma.LZMAFile(stream)),
    b"\x5d\x00\x00": lambda stream: cast("BinaryIO", lzma.LZMAFile(stream)),
}
# tarfile reads headers in blocks of 512 bytes and contents in blocks of 16 KiB, but the text of an
# extended header at once, with the length that the archive states
MOST_AT_ONCE = 2**20


class LimitedStream(io.RawIOBase):
    """A decompressing stream for `tarfile` that raises an error where it becomes too long.

    Args:
        stream: the bytes of the archive, at position 0.
        most_bytes: largest number of decompressed bytes.
    """

    def __init__(self, stream: BinaryIO, most_bytes: int) -> None:
        start = stream.read(6)
        stream.seek(0)
        opener = next((read for magic, read in _READERS.items() if start.startswith(magic)), None)
        self._stream = stream if opener is None else opener(stream)
        self._most_bytes = most_bytes

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes.

        Raises:
            tarfile.ReadError: more than `MOST_AT_ONCE` or `most_bytes` are requested, or the
                archive is damaged.
        """
        if not 0 <= size <= MOST_AT_ONCE:
            raise tarfile.ReadError(f"it holds a header of {size} bytes")
        try:
            content = self._stream.read(size)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise tarfile.ReadError(str(error)) from error
        self._check_length()
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a position; forward by decompressing the bytes before it, in blocks.

        Raises:
            tarfile.ReadError: as for `read`.
        """
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("only positions from the start are supported")
        if offset > self._most_bytes:
            raise tarfile.ReadError(f"it unpacks to more than {self._most_bytes} bytes")
        try:
            return self._stream.seek(offset)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise tarfile.ReadError(str(error)) from error

    def tell(self) -> int:
        """Position in the decompressed bytes."""
        return self._stream.tell()

    def _check_length(self) -> None:
        if self._stream.tell() > self._most_bytes:
            raise tarfile.ReadError(f"it unpacks to more than {self._most_bytes} bytes")
