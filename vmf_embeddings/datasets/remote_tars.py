"""Tars at remote addresses, copied whole into a local folder before they are read.

What a server says is received data: names are plain, sizes are limits, and no address but the
user's own is opened.
"""

import contextlib
import fnmatch
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmf_embeddings.progress import Progress
from vmf_embeddings.untrusted.file_lock import locked
from vmf_embeddings.untrusted.files import read_text, refuse_links, replacing
from vmf_embeddings.untrusted.full_disk import full_disk_error
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

PROTOCOLS = ("s3", "gs", "hf", "https", "http", "memory", "file")
_ADDRESS = re.compile(r"([a-z0-9]+)://.+", re.DOTALL)
_NAME = re.compile(r"[\w][\w.+@-]{0,250}")  # of a tar: one that no file system reads otherwise
_CHUNK = 2**22  # bytes that are copied together
_LONGEST_CHECKSUM = 1000  # bytes


@dataclass(frozen=True)
class RemoteTar:
    """A tar as its server describes it.

    Attributes:
        name: without folders.
        path: for `RemoteFolder.files`.
        size: bytes; None if the server does not say.
        sha256: as the writer of the tars noted beside it; None where there is no such note.
    """

    name: str
    path: str
    size: int | None
    sha256: str | None


def is_address(text: object) -> bool:
    """Whether it is an address such as `s3://bucket/folder`, not the path of a folder.

    >>> is_address("s3://bucket/tars"), is_address("tars/new")
    (True, False)
    """
    return isinstance(text, str) and _ADDRESS.fullmatch(text) is not None


def local_folder(address: str, cache: str | Path | None) -> Path:
    """The folder in the cache that holds copies from an address.

    Args:
        address: as typed.
        cache: folder of all copies.

    Raises:
        ValueError: there is no cache, or the address is of another kind than `PROTOCOLS`.
    """
    protocol = address.partition("://")[0]
    if protocol not in PROTOCOLS:
        raise ValueError(
            f"dataset.params.dataset_path={address} begins with none of "
            f"{', '.join(f'{one}://' for one in PROTOCOLS)}"
        )
    if cache is None:
        raise ValueError(
            f"{address} is read through local copies: name a folder with room for all tars by "
            "dataset.params.cache_path=FOLDER"
        )
    key = hashlib.sha256(address.rstrip("/").encode()).hexdigest()[:16]
    return Path(cache).expanduser() / key


def copies(address: str, pattern: str, folder: Path) -> list[Path]:
    """Local copies of the tars in a remote folder, sorted by name; what is there is kept.

    Each is written to a temporary name, and takes its own if its size is the server's and its
    SHA-256 the one in `NAME.sha256` beside it, where there is such a file. Processes that want the
    same tar wait for one of them. A tar whose remote size or SHA-256 has changed is copied again.

    Args:
        address: of the folder.
        pattern: names of the tars, with `*` and `?`, without folders.
        folder: local; created.

    Raises:
        FileNotFoundError: there are no such tars.
        Refused: the server cannot be read, or sends other than it promised.
    """
    if "/" in pattern:
        raise Refused(f"{address}: names of remote tars have no folders, got {pattern!r}")
    files, root = _opened(address)
    with _explained(address):
        found = _listed(files, root, pattern)
    if not found:
        raise FileNotFoundError(
            f"no tars {address.rstrip('/')}/{pattern}; a server of https:// must list its folder. "
            "Say what they are called with dataset.params.train_tars='NAME-*.tar' (valid_tars, "
            "test_tars)"
        )
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(tar.size or 0 for tar in found)
    made, n_bytes = [], 0
    with Progress(f"Copying {len(found)} tars from {printable(address)}", total or 1.0) as progress:
        for tar in found:
            made.append(_copy(files, tar, folder, lambda n, before=n_bytes: progress(before + n)))
            n_bytes += tar.size or 0
    return made


def _opened(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    try:
        import fsspec

        return fsspec.url_to_fs(address)
    except ImportError as error:
        raise Refused(
            f"{address} needs a package that is not installed ({error}): pip install "
            "'vmf_embeddings[remote]'"
        ) from error
    except (OSError, ValueError) as error:
        raise Refused(f"{address} cannot be opened: {printable(error)}") from error


@contextlib.contextmanager
def _explained(address: str) -> Iterator[None]:
    """Turns what file systems raise about a server into `Refused`; a full disk here stays one."""
    try:
        yield
    except (OSError, ImportError, ValueError) as error:
        if isinstance(error, Refused) or full_disk_error(error) is not None:
            raise
        words = printable(error) or type(error).__name__
        raise Refused(f"{address} cannot be read: {words}") from error


def _listed(files: Any, root: str, pattern: str) -> list[RemoteTar]:
    """The tars of a folder whose names fit, sorted."""
    found, names = {}, {}
    for entry in files.ls(root, detail=True):
        path = str(entry["name"])
        folder, _, name = path.rpartition("/")
        if folder.rstrip("/") != root.rstrip("/"):  # a page may link to anywhere
            continue
        names[name] = path
        if entry.get("type") == "file" and fnmatch.fnmatchcase(name, pattern):
            found[name] = entry
    tars = []
    for name in sorted(found):
        if _NAME.fullmatch(name) is None:
            raise Refused(f"the server names a tar {printable(repr(name))[:80]}")
        path, size = names[name], found[name].get("size")
        size = files.info(path).get("size") if size is None else size
        note = names.get(f"{name}.sha256")
        sha256 = None if note is None else _noted(files.cat_file(note, 0, _LONGEST_CHECKSUM), name)
        tars.append(RemoteTar(name, path, size if type(size) is int else None, sha256))
    return tars


def _noted(content: bytes, name: str) -> str:
    """The SHA-256 in a file as `sha256sum` writes it."""
    found = re.fullmatch(rb"([0-9a-f]{64}) [ *]([^\n]*)\n?", content)
    if found is None or found[2].decode(errors="replace") != name:
        raise Refused(f"{name}.sha256 beside the tar holds no SHA-256 of it")
    return found[1].decode()


def _copy(files: Any, tar: RemoteTar, folder: Path, report: Callable[[int], None]) -> Path:
    """The local copy of a tar, made where it is not there as the server has it."""
    path, note = folder / tar.name, folder / f"{tar.name}.sha256"
    refuse_links(folder, path)
    refuse_links(folder, note)
    with locked(folder / f".{tar.name}.lock"):
        if not _is_complete(path, note, tar):
            note.unlink(missing_ok=True)  # of an older copy
            with replacing(path) as temporary, _explained(tar.path):
                digest = _fetched(files, tar, temporary, report)
            with replacing(note) as temporary:
                temporary.write_text(f"{digest}  {tar.name}\n", encoding="utf-8")
    return path


def _is_complete(path: Path, note: Path, tar: RemoteTar) -> bool:
    """Whether a copy has the size and the SHA-256 that the server has now."""
    if not path.is_file() or not note.is_file():
        return False
    own = read_text(note, limit=_LONGEST_CHECKSUM).partition(" ")[0]
    return tar.size in (None, path.stat().st_size) and tar.sha256 in (None, own)


def _fetched(files: Any, tar: RemoteTar, target: Path, report: Callable[[int], None]) -> str:
    """Writes a tar to a path and returns its SHA-256.

    Raises:
        Refused: it is longer, shorter or other than its server said.
    """
    digest, n_bytes = hashlib.sha256(), 0
    with files.open(tar.path, "rb") as source, target.open("wb") as stream:
        while chunk := source.read(_CHUNK):
            n_bytes += len(chunk)
            if tar.size is not None and n_bytes > tar.size:
                break
            digest.update(chunk)
            stream.write(chunk)
            report(n_bytes)
    if tar.size not in (None, n_bytes):
        came = f"{n_bytes:,}" if n_bytes < tar.size else "more"
        raise Refused(f"{tar.path}: the server stated {tar.size:,} bytes and sent {came}")
    if tar.sha256 not in (None, digest.hexdigest()):
        raise Refused(f"{tar.path} is damaged: its SHA-256 is not that of {tar.name}.sha256")
    return digest.hexdigest()
