"""Safe extraction of tar and zip archives: nothing is written outside the given folder."""

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

# errors of the standard library's readers on damaged or inconsistent archives
BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, struct.error,
    ValueError, ArithmeticError, LookupError, RuntimeError, MemoryError,
)  # fmt: skip
BLOCK = 1 << 20
# The published archives of images expand by a few per cent and contain at most 120,000 files. Small
# archives may expand to FLOOR bytes, because lists compress well.
MOST_MEMBERS = 1_000_000
MOST_BYTES = 32 * 2**30
MOST_EXPANSION = 50
FLOOR = 64 * 2**20
_LONGEST_LINK = 4096  # bytes, as on Linux
_ENCRYPTED = 0x1


def extract(archive: Path, folder: Path) -> None:
    """Extracts a .tar[.gz|.bz2|.xz] or .zip archive into `folder`.

    All members are checked before the first is written. Links inside the folder are skipped (the
    data sets do not need any); an archive with links that lead out of it is refused. It may expand
    to max(64 MiB, 50 times its size), and to 32 GiB at most. Nothing is written through links that
    already exist in `folder`.

    Args:
        archive: the file; its type is recognised by its content, not by its name.
        folder: an existing directory.

    Raises:
        UserMistake: it is not a complete archive, expands to more bytes, or has a member that must
            not be written.
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
            f"{archive} is not a complete tar or zip archive ({reason}): remove it and download "
            "it again"
        ) from error


def _most_bytes(archive: Path) -> int:
    """Largest number of bytes to which an archive may expand."""
    return min(MOST_BYTES, max(FLOOR, MOST_EXPANSION * archive.stat().st_size))


class _Tally:
    """Counts the members and bytes of an archive and refuses too many, before any is written.

    Args:
        archive: the file; its size determines the limit.
    """

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._most_bytes = _most_bytes(archive)
        self._n_members = self._n_bytes = 0

    def add(self, size: int) -> None:
        """Counts one more member of `size` bytes.

        Raises:
            UserMistake: there are too many members, or their total size is too large.
        """
        self._n_members += 1
        self._n_bytes += size
        if self._n_members > MOST_MEMBERS:
            raise _refusal(self._archive, f"more than {MOST_MEMBERS} members")
        if size < 0 or self._n_bytes > self._most_bytes:
            raise _refusal(
                self._archive,
                f"members that expand to more than {self._most_bytes} bytes, too many for its own "
                f"size of {self._archive.stat().st_size}",
            )


def _extract_tar(archive: Path, stream: BinaryIO, folder: Path) -> None:
    # twice the limit of the contents, because headers and padding take blocks of 512 bytes too
    limited = LimitedStream(stream, 2 * _most_bytes(archive))
    with tarfile.open(fileobj=cast("BinaryIO", limited), mode="r:") as tar:
        members = _members_of_tar(archive, tar)
        _read_to_the_end(limited)
        _refuse_links(archive, folder, [member.name for member in members])
        # The standard library checks the members once more; Python 3.11.0-3.11.3 cannot.
        options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(folder, members=members, **options)


def _members_of_tar(archive: Path, tar: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """Files and folders to write, once all members of the archive are checked."""
    tally, members, offset = _Tally(archive), [], -1
    for member in tar:
        if member.offset <= offset:  # a negative size leads back: an endless loop
            raise tarfile.ReadError("its members do not follow one another")
        offset = member.offset
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
    """Reads the rest of an archive, so that its checksum is verified.

    Otherwise damage could be overlooked: tarfile takes a damaged header for the end of the archive.

    Raises:
        tarfile.ReadError: the checksum of the compressed archive is wrong.
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
    """Refuses to write through links that already exist in the folder.

    Raises:
        UserMistake: naming the link.
    """
    for name in names:
        try:
            refuse_links(folder, name)
        except ValueError as error:
            raise UserMistake(f"{archive} cannot be unpacked into {folder}: {error}") from error


def check_name(name: str, archive: Path, what: str = "") -> None:
    """Refuses a path that is absolute (on any system), leads out, or contains control characters.

    Args:
        name: path of a member, or the target of a link.
        archive: for messages.
        what: words before the path in messages.

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
        f"{archive} is refused: it contains {what}. Nothing was extracted; get the archive "
        "from its publisher"
    )
