"""Extraction of tar and zip archives from anywhere: nothing is written outside the folder."""

import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO, cast

from vmf_embeddings.datasets.prepare.source import UserMistake
from vmf_embeddings.datasets.prepare.stream import LimitedStream
from vmf_embeddings.untrusted.files import open_regular, refuse_links
from vmf_embeddings.untrusted.text import has_control, printable

# what the readers of the standard library raise where an archive contradicts itself
BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, struct.error,
    ValueError, ArithmeticError, LookupError, RuntimeError, MemoryError,
)  # fmt: skip
BLOCK = 1 << 20
# The published archives of images grow by a few per cent when unpacked, and hold 120,000 files at
# most; what a small archive may unpack to besides is room for lists, which compress well.
MOST_MEMBERS = 1_000_000
MOST_BYTES = 32 * 2**30
MOST_EXPANSION = 50
FLOOR = 64 * 2**20
_LONGEST_LINK = 4096  # bytes, as on Linux
_ENCRYPTED = 0x1


def extract(archive: Path, folder: Path) -> None:
    """Unpack a .tar[.gz|.bz2|.xz] or .zip archive into `folder`.

    The whole archive is looked through first, so that a bad one leaves nothing behind. Links that
    stay inside are skipped (these data sets have none to offer); links that lead out are refused.
    An archive may unpack to 64 MiB, or to 50 times its own size, never to more than 32 GiB, and
    nothing is written through a link that is in `folder` already.

    Args:
        archive: the file; its content says what it is, not its name.
        folder: an existing directory.

    Raises:
        UserMistake: if it is no whole archive, unpacks to more, or holds a member that must not be
            written.
    """
    try:
        with open_regular(archive) as stream:
            if zipfile.is_zipfile(stream):
                _extract_zip(archive, stream, folder)
            else:
                stream.seek(0)
                _extract_tar(archive, stream, folder)
    except BROKEN as error:
        reason = printable(" ".join(str(error).split()) or type(error).__name__)
        raise UserMistake(
            f"{archive} is not a whole tar or zip archive ({reason}): remove it and get it again"
        ) from error


def _most_bytes(archive: Path) -> int:
    """How many bytes may come out of an archive."""
    return min(MOST_BYTES, max(FLOOR, MOST_EXPANSION * archive.stat().st_size))


class _Tally:
    """Counts members and bytes of an archive before anything is written.

    Args:
        archive: for messages, and for the limit that follows from its size.
    """

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._most_bytes = _most_bytes(archive)
        self._n_members = self._n_bytes = 0

    def add(self, size: int) -> None:
        """Count one more member.

        Raises:
            UserMistake: there are too many, or they are too large together.
        """
        self._n_members += 1
        self._n_bytes += size
        if self._n_members > MOST_MEMBERS:
            raise _refusal(self._archive, f"more than {MOST_MEMBERS} members")
        if size < 0 or self._n_bytes > self._most_bytes:
            raise _refusal(
                self._archive,
                f"members that unpack to more than {self._most_bytes} bytes, which its own "
                f"{self._archive.stat().st_size} do not make likely",
            )


def _extract_tar(archive: Path, stream: BinaryIO, folder: Path) -> None:
    # beside the contents: a block of 512 bytes for each header, and what pads a file to such blocks
    limited = LimitedStream(stream, 2 * _most_bytes(archive))
    with tarfile.open(fileobj=cast("BinaryIO", limited), mode="r:") as tar:
        members = _members_of_tar(archive, tar)
        _read_to_the_end(limited)
        _refuse_links(archive, folder, [member.name for member in members])
        # The standard library's own filter is the second lock; 3.11.0-3.11.3 lack it.
        second_lock = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(folder, members=members, **second_lock)


def _members_of_tar(archive: Path, tar: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """Files and folders to write, after everything in the archive was looked at."""
    tally, members, place = _Tally(archive), [], -1
    for member in tar:
        if member.offset <= place:  # a negative size would lead back, and round for ever
            raise tarfile.ReadError("its members do not follow one another")
        place = member.offset
        tally.add(member.size)
        check_name(member.name, archive)
        if member.issym() or member.islnk():
            start = PurePosixPath(member.name).parent if member.issym() else PurePosixPath()
            check_name(str(start / member.linkname), archive, f"link {member.name!r} to ")
        elif member.isfile() or member.isdir():
            members.append(member)
        else:
            raise _refusal(archive, f"{member.name!r}, a device or pipe")
    return members


def _read_to_the_end(stream: LimitedStream) -> None:
    """Have a compressed archive checked by its sum: tarfile takes a damaged header for the end.

    Raises:
        tarfile.ReadError: if what was read so far is not what was packed.
    """
    while stream.read(BLOCK):
        pass


def _extract_zip(archive: Path, stream: BinaryIO, folder: Path) -> None:
    with zipfile.ZipFile(stream) as zipped:
        tally, members = _Tally(archive), []
        for member in zipped.infolist():
            tally.add(member.file_size)
            check_name(member.filename, archive)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.flag_bits & _ENCRYPTED:
                raise _refusal(archive, f"{member.filename!r}, which is encrypted")
            if kind == stat.S_IFLNK and member.file_size <= _LONGEST_LINK:
                target = zipped.read(member).decode(errors="replace")
                start = PurePosixPath(member.filename).parent
                check_name(str(start / target), archive, f"link {member.filename!r} to ")
            elif kind in (0, stat.S_IFREG, stat.S_IFDIR):
                members.append(member)
            else:
                raise _refusal(archive, f"{member.filename!r}, a device, a pipe or no real link")
        _refuse_links(archive, folder, [member.filename for member in members])
        zipped.extractall(folder, members=members)


def _refuse_links(archive: Path, folder: Path, names: Sequence[str]) -> None:
    """Refuse to write through links that lie in the folder from before.

    Raises:
        UserMistake: naming the link.
    """
    for name in names:
        try:
            refuse_links(folder, name)
        except ValueError as error:
            raise UserMistake(f"{archive} cannot be unpacked into {folder}: {error}") from error


def check_name(name: str, archive: Path, what: str = "") -> None:
    """Refuse a path that is absolute (on any system), climbs out, or holds control characters.

    Raises:
        UserMistake: naming archive and path.
    """
    if has_control(name):
        raise _refusal(archive, f"{what}{name!r}, which holds control characters")
    windows = PureWindowsPath(name)
    depth = 0
    for part in windows.parts:
        depth += -1 if part == ".." else 1
        if depth < 0 or windows.anchor:
            raise _refusal(archive, f"{what}{name!r}, which leads out of the folder")


def _refusal(archive: Path, what: str) -> UserMistake:
    return UserMistake(
        f"{archive} is refused: it holds {what}. Nothing was extracted; get the archive from its "
        "publisher"
    )
