"""Extraction of tar and zip archives from anywhere: nothing is written outside the folder."""

import lzma
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from vmf_embeddings.datasets.prepare.source import UserMistake

BROKEN = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError)
BLOCK = 1 << 20


def extract(archive: Path, folder: Path) -> None:
    """Unpack a .tar[.gz|.bz2|.xz] or .zip archive into `folder`.

    The whole archive is looked through first, so that a bad one leaves nothing behind. Links that
    stay inside are skipped (these data sets have none to offer); links that lead out are refused.

    Args:
        archive: the file; its content says what it is, not its name.
        folder: an existing directory.

    Raises:
        UserMistake: if it is no whole archive, or holds a member that must not be written.
    """
    try:
        if zipfile.is_zipfile(archive):
            _extract_zip(archive, folder)
        else:
            _extract_tar(archive, folder)
    except BROKEN as error:
        raise UserMistake(
            f"{archive} is not a whole tar or zip archive ({' '.join(str(error).split())}): "
            "remove it and get it again"
        ) from error


def _extract_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive, "r:*") as tar:
        members = []
        for member in tar:
            check_name(member.name, archive)
            if member.issym() or member.islnk():
                start = PurePosixPath(member.name).parent if member.issym() else PurePosixPath()
                check_name(str(start / member.linkname), archive, f"link {member.name!r} to ")
            elif member.isfile() or member.isdir():
                members.append(member)
            else:
                raise _refusal(archive, f"{member.name!r}, a device or pipe")
        _read_to_the_end(tar)
        # The standard library's own filter is the second lock; 3.11.0-3.11.3 lack it.
        second_lock = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(folder, members=members, **second_lock)


def _read_to_the_end(tar: tarfile.TarFile) -> None:
    """Have a compressed archive checked by its sum: tarfile takes a damaged header for the end.

    Raises:
        tarfile.ReadError: if what was read so far is not what was packed.
    """
    try:
        while tar.fileobj is not None and tar.fileobj.read(BLOCK):
            pass
    except OSError as error:  # of gzip and bz2, and of a disk that cannot be read
        raise tarfile.ReadError(str(error)) from error


def _extract_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as zipped:
        members = []
        for member in zipped.infolist():
            check_name(member.filename, archive)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind == stat.S_IFLNK:
                target = zipped.read(member).decode(errors="replace")
                start = PurePosixPath(member.filename).parent
                check_name(str(start / target), archive, f"link {member.filename!r} to ")
            elif kind in (0, stat.S_IFREG, stat.S_IFDIR):
                members.append(member)
            else:
                raise _refusal(archive, f"{member.filename!r}, a device or pipe")
        zipped.extractall(folder, members=members)


def check_name(name: str, archive: Path, what: str = "") -> None:
    """Refuse a path that is absolute (on any system) or climbs out of its folder.

    Raises:
        UserMistake: naming archive and path.
    """
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
