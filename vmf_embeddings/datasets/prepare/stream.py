"""The bytes of a tar archive without its compression, read under limits that the caller sets."""

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable
from typing import BinaryIO, cast

# how a compressed file begins -> what reads it; anything else is taken for plain tar
_READERS: dict[bytes, Callable[[BinaryIO], BinaryIO]] = {
    b"\x1f\x8b": lambda stream: cast("BinaryIO", gzip.GzipFile(fileobj=stream)),
    b"BZh": lambda stream: cast("BinaryIO", bz2.BZ2File(stream)),
    b"\xfd7zXZ\x00": lambda stream: cast("BinaryIO", lzma.LZMAFile(stream)),
    b"\x5d\x00\x00": lambda stream: cast("BinaryIO", lzma.LZMAFile(stream)),
}
# tarfile reads headers in pieces of 512 bytes and contents in pieces of 16 KiB, but the text of an
# extended header at once, however long it says that it is
MOST_AT_ONCE = 2**20


class LimitedStream(io.RawIOBase):
    """A decompressing stream for `tarfile` that ends in an error where it grows too long.

    Args:
        stream: the archive's bytes, at their start.
        most_bytes: how many may come out of it.
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
            tarfile.ReadError: too much is asked for at once or altogether, or the archive is
                damaged.
        """
        if not 0 <= size <= MOST_AT_ONCE:
            raise tarfile.ReadError(f"it holds a header of {size} bytes")
        try:
            content = self._stream.read(size)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise tarfile.ReadError(str(error)) from error
        self._check_place()
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; forward by unpacking what lies between, in pieces.

        Raises:
            tarfile.ReadError: as for `read`.
        """
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("only places from the start are sought")
        if offset > self._most_bytes:
            raise tarfile.ReadError(f"it unpacks to more than {self._most_bytes} bytes")
        try:
            return self._stream.seek(offset)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise tarfile.ReadError(str(error)) from error

    def tell(self) -> int:
        """Bytes from the start of what comes out."""
        return self._stream.tell()

    def _check_place(self) -> None:
        if self._stream.tell() > self._most_bytes:
            raise tarfile.ReadError(f"it unpacks to more than {self._most_bytes} bytes")
