"""Opening and writing files in folders from untrusted sources."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vmf_embeddings.untrusted.full_disk import full_disk_error
from vmf_embeddings.untrusted.refused import Refused

TEXT_LIMIT = 256 * 2**20  # bytes; long lists of images are read in pieces instead


def open_regular(path: str | Path) -> BinaryIO:
    """Opens a regular file for reading bytes; never blocks, even if the path is a pipe.

    Args:
        path: of the file; a symbolic link to a regular file is followed.

    Returns:
        The open file, positioned at its start.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: it is a pipe, a device, a socket or a folder.
    """
    try:
        # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise Refused(f"{path} is not a regular file: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refused(f"{path} is not a regular file but a folder, a pipe or a device")
    return os.fdopen(descriptor, "rb")


def read_text(path: str | Path, *, limit: int = TEXT_LIMIT, encoding: str = "utf-8-sig") -> str:
    r"""The text of a regular file; a byte order mark is dropped, lines end in "\n" alone.

    Args:
        path: of the file.
        limit: largest size in bytes that is read.
        encoding: of the text.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: it is no regular file, larger than `limit`, or not text in this encoding.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit:
            raise Refused(f"{path} has {size} bytes; at most {limit} are read as text")
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise Refused(f"{path} has more than {limit} bytes; at most that many are read as text")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise Refused(f"{path} is not UTF-8 text ({error}); convert it") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path to write to, which takes the name `path` if the block succeeds.

    No reader ever sees half a file, and nothing is written through a link: the temporary file is
    new, and renaming replaces a link instead of following it.

    Args:
        path: file to write or replace; its folder must be there.

    Raises:
        Refused: `path` is a device, a pipe or a socket, which a file would replace.
        OSError: with the file's name where the disk is full, whatever error covered that; the file
            of that name is as it was.
    """
    path = Path(path)
    refuse_special(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.unlink(missing_ok=True)  # left over from a process that was killed, or planted
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
        yield temporary
        os.replace(temporary, path)
    except Exception as error:
        full = full_disk_error(error)
        if full is None:
            raise
        raise OSError(full.errno, os.strerror(full.errno or 0), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def refuse_special(path: str | Path) -> None:
    """Refuses to put a file in the place of a device, such as /dev/null, a pipe or a socket.

    Raises:
        Refused: it is one of these, or a name of a stream of this process, such as /dev/stdout.
    """
    path = Path(path)
    stream = path.is_symlink() and os.readlink(path).startswith("/proc/")
    if not stream and (not path.exists() or path.is_file() or path.is_dir()):
        return
    raise Refused(f"{path} is a device, a pipe or a socket, and would be replaced: name a file")


def refuse_links(root: str | Path, path: str | Path) -> None:
    """Refuses a path whose parts below `root` are symbolic links.

    Args:
        root: folder that the caller named, which may itself be reached by a link.
        path: below `root`; relative to it, or absolute.

    Raises:
        Refused: naming the link, or where `path` does not lie below `root`.
    """
    root = Path(root)
    inside = Path(os.path.normpath(root / path))
    if not inside.is_relative_to(Path(os.path.normpath(root))):
        raise Refused(f"{path} does not lie in the folder {root}")
    for part in [inside, *inside.parents]:
        if part == Path(os.path.normpath(root)):
            return
        if part.is_symlink():
            raise Refused(
                f"{part} is a symbolic link: nothing is written through one. Remove it, or copy "
                "what it points to into its place"
            )
