"""The members of a tar from an untrusted source: names, and places that lie in the file."""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import BinaryIO, NamedTuple, cast

from vmf_embeddings.untrusted.files import open_regular
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import has_control, printable

_LARGEST_HEADER = 2**20  # bytes of a header with long names, which are read together
_BLOCK = 512
_MOST_PADDING = 2**20  # bytes after the end of a tar that are looked at; tar fills up 10,240
_MEND = "copy it again, or write it with python -m vmf_embeddings.datasets.prepare.tars"


class Member(NamedTuple):
    """A regular file in a tar: its name, the byte at which it begins, and its bytes."""

    name: str
    start: int
    size: int


class _Headers:
    """A tar of which headers are read alone: a member of gigabytes is no header."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        if size > _LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._stream.read(size)


def members_of_tar(path: str | Path) -> Iterator[Member]:
    """The regular files of an uncompressed tar, in order; reads their headers alone.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: it is no such tar, is cut off, goes on after its end, holds links, devices or
            sparse files, names that are absolute, lead out or hold control characters, or a member
            that the file does not have.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        try:
            with tarfile.open(fileobj=cast("BinaryIO", _Headers(stream)), mode="r:") as tar:
                yield from _members(tar, path, size)
                end = tar.offset
        except (tarfile.TarError, ValueError, EOFError, ArithmeticError, LookupError) as error:
            if isinstance(error, Refused):
                raise
            raise Refused(
                f"{path} is no uncompressed tar ({printable(error)[:200]}): {_MEND}"
            ) from error
        stream.seek(end)
        rest = stream.read(_MOST_PADDING)
    # tarfile takes a damaged header, and the end of the file, for the end of the archive
    if len(rest) < _BLOCK or rest[:_BLOCK].strip(b"\0"):
        raise Refused(f"{path} is cut off or damaged after {end:,} bytes: {_MEND}")
    if rest.strip(b"\0"):  # it would be ignored in silence
        raise Refused(
            f"{path} goes on after its end at {end:,} bytes, like two tars in one file: keep them "
            "in a file each, or write them again"
        )


def _members(tar: tarfile.TarFile, path: str | Path, size: int) -> Iterator[Member]:
    before = -1
    while (member := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # which would keep every header in memory
        name = printable(member.name)[:200]
        if member.offset <= before:  # a negative size leads back: an endless loop
            raise Refused(f"{path}: its members do not follow one another at {name!r}: {_MEND}")
        before = member.offset
        _refuse_name(member.name, path)
        if member.isdir():
            continue
        if not member.isreg() or member.issparse():
            kind = "a link" if member.issym() or member.islnk() else "no regular file"
            raise Refused(f"{path}: {name!r} is {kind}; tars of images hold files alone")
        if member.size < 0 or member.offset_data + member.size > size:
            raise Refused(
                f"{path}: {name!r} claims {member.size:,} bytes, more than the file of {size:,} "
                f"has: {_MEND}"
            )
        yield Member(member.name, member.offset_data, member.size)


def _refuse_name(name: str, path: str | Path) -> None:
    """Refuses a name that is absolute on any system, leads out, or holds control characters."""
    windows = PureWindowsPath(name)
    if not name or has_control(name) or windows.anchor or ".." in windows.parts:
        raise Refused(
            f"{path}: a member is called {printable(name)[:200]!r}; names are relative paths "
            "without .. and control characters"
        )
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise Refused(f"{path}: the name {printable(name)[:200]!r} is not UTF-8") from error
