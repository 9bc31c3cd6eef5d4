"""Downloads a file to a temporary name, and renames it once it is complete and verified."""

import hashlib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from vmf_embeddings.datasets.prepare.source import Download, PreparationFailure, UserMistake
from vmf_embeddings.untrusted.files import replacing
from vmf_embeddings.untrusted.text import printable

SCHEMES = ("https", "http", "ftp")
BLOCK = 1 << 20
TIMEOUT_SECONDS = 60.0
MOST_BYTES = 16 * 2**30  # of a file; the largest published one has 3 GB


def fetch(download: Download, folder: Path, progress: Callable[[str], None]) -> Path:
    """Downloads one file into `folder`, unless it exists already.

    Args:
        download: the file and its address.
        folder: an existing directory.
        progress: called with a line of text after every tenth of the file.

    Returns:
        The path of the file.

    Raises:
        UserMistake: the address is not http, https or ftp.
        PreparationFailure: the network failed, the md5 sum is wrong, or the file has more than
            16 GiB; a partial file is removed.
    """
    target = folder / download.file
    if target.is_file():
        progress(f"{target} exists already")
        return target
    if urllib.parse.urlsplit(download.url).scheme not in SCHEMES:
        raise UserMistake(f"--url {download.url}: expected one of {', '.join(SCHEMES)}://…")
    try:
        with (
            urllib.request.urlopen(download.url, timeout=TIMEOUT_SECONDS) as response,
            replacing(target) as temporary,
        ):
            _check_sum(_copy(response, temporary, download, progress), download)
    except (OSError, ValueError, EOFError, HTTPException) as error:  # URLError is an OSError
        raise PreparationFailure(f"cannot download {download.url}: {printable(error)}") from error
    return target


def _check_sum(md5: str, download: Download) -> None:
    if download.md5 is not None and md5 != download.md5:
        raise PreparationFailure(
            f"{download.url} has md5 {md5}, expected {download.md5}: damaged, or another version"
        )


def _check_length(n_bytes: int) -> None:
    if n_bytes > MOST_BYTES:
        raise OSError(f"it has {n_bytes} bytes or more, at most {MOST_BYTES} are accepted")


def _copy(
    response: urllib.request.addinfourl,
    temporary: Path,
    download: Download,
    progress: Callable[[str], None],
) -> str:
    """Writes the response to disk and returns its md5 sum."""
    stated = response.headers.get("Content-Length")
    total = int(stated) if stated else 0
    _check_length(total)
    done, reported = 0, 0
    digest = hashlib.md5(usedforsecurity=False)
    with temporary.open("wb") as stream:
        while block := response.read(BLOCK):
            stream.write(block)
            digest.update(block)
            done += len(block)
            _check_length(done)
            if total and 10 * done // total > reported:
                reported = 10 * done // total
                progress(f"{download.file}: {10 * reported}% of {total / 1e6:.0f} MB")
    if total and done != total:
        raise OSError(f"got {done} of {total} bytes")
    return digest.hexdigest()
