"""NumPy archives (`.npz`) from untrusted sources: nothing is unpickled, all sizes are checked.

Sizes in the archive's directory and in the arrays' headers are compared with the bytes in the file
before memory is allocated. The rule: an array has exactly the size that its header says, and all
arrays together are at most `FLOOR` bytes or `MOST_EXPANSION` times the file.
"""

import functools
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from vmf_embeddings.untrusted.array_maps import LARGE, Place, map_array
from vmf_embeddings.untrusted.contents import (
    LONGEST_HEAD,
    header_cut,
    truncated,
    why_no_archive,
    why_no_array,
)
from vmf_embeddings.untrusted.files import open_regular
from vmf_embeddings.untrusted.npy_header import (
    BAD_HEADER,
    BYTES,
    NUMBERS,
    TEXTS,
    Header,
    check_characters,
    check_header,
)
from vmf_embeddings.untrusted.text import printable

FLOOR = 64 * 2**20  # bytes that any archive may unpack to
# float32 copies of small images, mostly black, shrink to a fiftieth; deflate can reach a thousandth
MOST_EXPANSION = 50
MOST_MEMBERS = 1000
_ENCRYPTED = 0x1
_LOCAL_HEADER = 30  # bytes before the name of a member


def read_npz(
    path: str | Path,
    wanted: Mapping[str, str],
    *,
    mapped: bool = False,
    large_mapped: bool = False,
    in_groups: bool = False,
) -> dict[str, np.ndarray]:
    """Selected arrays of an archive; others are not read.

    Args:
        path: of the `.npz`, stored or compressed.
        wanted: key -> kinds of dtype that it may have, of `NUMBERS`, `TEXTS` and `BYTES`.
        mapped: numbers that are stored uncompressed are mapped into memory, read-only, where they
            lie in the file; they need not be aligned, and their checksum is not compared.
        large_mapped: numbers and texts of `array_maps.LARGE` bytes and more that are stored
            uncompressed and aligned are mapped into memory, copy-on-write, without a checksum.
        in_groups: whether keys may be of the form `group/name`; nothing is unpacked to the disk.

    Returns:
        key -> array, for the selected keys that the archive has.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such archive, is larger than the rule allows, or holds an array of
            another kind, such as Python objects.
    """
    with open_regular(path) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                members = _members(archive, wanted, in_groups)
                _check_sizes(members.values(), os.fstat(stream.fileno()).st_size)
                maps = functools.partial(_map, stream, mapped=mapped, large=large_mapped)
                return {key: _read(archive, one, wanted[key], maps) for key, one in members.items()}
        except (ValueError, RuntimeError) as error:
            raise ValueError(printable(error)) from error
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, struct.error) as error:
            raise ValueError(_why_unreadable(stream, error)) from error


def _why_unreadable(stream: BinaryIO, error: Exception) -> str:
    """What to say of a file that `zipfile` cannot read."""
    if not zipfile.is_zipfile(stream):
        stream.seek(0)
        return why_no_archive(stream.read(LONGEST_HEAD), os.fstat(stream.fileno()).st_size)
    return f"the zip archive is damaged ({printable(error)}): copy or write the file again"


def _members(
    archive: zipfile.ZipFile, wanted: Mapping[str, str], in_groups: bool
) -> dict[str, zipfile.ZipInfo]:
    """The archive's entries of the wanted keys, after all names were looked at."""
    return {key: entry for key, entry in _entries(archive, in_groups).items() if key in wanted}


def _entries(archive: zipfile.ZipFile, in_groups: bool = False) -> dict[str, zipfile.ZipInfo]:
    """Key -> entry of all arrays; refuses names of files in folders, and names that come twice."""
    entries = archive.infolist()
    if len(entries) > MOST_MEMBERS:
        raise ValueError(f"{len(entries)} arrays, at most {MOST_MEMBERS} are expected")
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        key = entry.filename.removesuffix(".npy")
        if ("/" in key and not in_groups) or "\\" in key or ".." in key:
            raise ValueError(f"{key!r} is the name of a file in a folder, not of an array")
        if key in found:
            raise ValueError(f"two arrays are called {key!r}")
        found[key] = entry
    return found


def _check_sizes(entries: Iterable[zipfile.ZipInfo], file_size: int) -> None:
    """Compare the sizes in the directory with the size of the file."""
    total = 0
    for entry in entries:
        if entry.flag_bits & _ENCRYPTED:
            raise ValueError(f"{entry.filename!r} is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(
                f"{entry.filename!r} is compressed by method {entry.compress_type}; np.savez and "
                "np.savez_compressed write others"
            )
        stored = entry.compress_type == zipfile.ZIP_STORED
        if entry.compress_size > file_size or (stored and entry.compress_size != entry.file_size):
            raise ValueError(
                f"{entry.filename!r} claims {entry.file_size} bytes in {entry.compress_size} of "
                f"the file's {file_size}"
            )
        total += entry.file_size
    if total > max(FLOOR, MOST_EXPANSION * file_size):
        raise ValueError(
            f"the file's {file_size} bytes would unpack to {total}, more than {MOST_EXPANSION} "
            f"times as many and more than {FLOOR}: write it with np.savez, uncompressed"
        )


def _read(
    archive: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    kinds: str,
    maps: Callable[[zipfile.ZipInfo, Header], np.ndarray | None],
) -> np.ndarray:
    name = repr(entry.filename)
    with archive.open(entry) as stream:
        header = check_header(stream, name, kinds)
        if header.size != entry.file_size:
            raise ValueError(
                f"{name} holds {entry.file_size} bytes, the shape that it claims takes "
                f"{header.size}"
            )
    array = maps(entry, header)
    if array is None:
        with archive.open(entry) as stream:
            array = npy.read_array(stream, allow_pickle=False)
    check_characters(array, name)
    return array


def _map(
    stream: BinaryIO, entry: zipfile.ZipInfo, header: Header, *, mapped: bool, large: bool
) -> np.ndarray | None:
    """The array of an uncompressed member, mapped into memory; None where it is to be read."""
    mapped = mapped and header.dtype.kind in NUMBERS and header.size > header.start
    large = large and header.size >= LARGE
    if not (mapped or large) or entry.compress_type != zipfile.ZIP_STORED:
        return None
    stream.seek(entry.header_offset)
    local = stream.read(_LOCAL_HEADER)
    n_name, n_extra = struct.unpack("<HH", local[-4:])
    start = entry.header_offset + _LOCAL_HEADER + n_name + n_extra + header.start
    end = start + header.size - header.start
    if end > (size := os.fstat(stream.fileno()).st_size):
        raise ValueError(truncated(repr(entry.filename), end, size))
    if mapped:
        return np.memmap(stream, header.dtype, "r", start, header.shape, header.order)
    if start % header.dtype.alignment:
        return None
    return map_array(Place(stream, start, end - start), header.dtype, header.shape, header.order)


def npz_shapes(path: str | Path) -> dict[str, tuple[int, ...] | None]:
    """Shape of every array in an `.npz`, from its header; None where it holds no plain values.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such archive; without the path.
    """
    with open_regular(path) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                entries = _entries(archive)
                return {key: _shape(archive, entry) for key, entry in entries.items()}
        except (ValueError, RuntimeError) as error:
            raise ValueError(printable(error)) from error
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, struct.error) as error:
            raise ValueError(_why_unreadable(stream, error)) from error


def _shape(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[int, ...] | None:
    try:
        with archive.open(entry) as stream:
            return check_header(stream, entry.filename, f"{NUMBERS}{TEXTS}{BYTES}").shape
    except (ValueError, NotImplementedError, RuntimeError):
        return None


def npz_keys(path: str | Path, *, in_groups: bool = False) -> list[str]:
    """Names of the arrays in an `.npz`, without reading them.

    Args:
        path: of the `.npz`.
        in_groups: see `read_npz`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such archive; without the path.
    """
    with open_regular(path) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                return list(_entries(archive, in_groups))
        except (ValueError, RuntimeError) as error:
            raise ValueError(printable(error)) from error
        except (OSError, EOFError, zipfile.BadZipFile, struct.error) as error:
            raise ValueError(_why_unreadable(stream, error)) from error


def read_npy(path: str | Path, kinds: str) -> np.ndarray:
    """The array of an `.npy`, mapped into memory, so that a size it lacks is refused.

    Args:
        path: of the file.
        kinds: kinds of dtype that it may have, of `NUMBERS`, `TEXTS` and `BYTES`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, is truncated, claims another size than it has, or holds
            another kind of values, such as Python objects.
    """
    try:
        _check_npy(path, kinds)
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, PermissionError):
        raise
    except (ValueError, OSError, EOFError, *BAD_HEADER) as error:
        raise ValueError(f"{path} is no usable .npy file: {printable(error)}") from error
    check_characters(array, str(path))
    return array


def _check_npy(path: str | Path, kinds: str) -> None:
    """Compares what the header of an `.npy` claims with the size of the file."""
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        head = stream.read(LONGEST_HEAD)
        if not head.startswith(b"\x93NUMPY") or len(head) < npy.MAGIC_LEN:
            raise ValueError(why_no_array(head, size))
        stream.seek(0)
        try:
            expected = check_header(stream, "the array", kinds).size
        except ValueError as error:
            if "EOF" in str(error):
                raise ValueError(header_cut(size)) from error
            raise
    if expected == 0 or size < expected:
        raise ValueError(truncated("the shape that its header claims", expected, size))
    if size > expected:
        raise ValueError(
            f"{size - expected:,} bytes follow the array that its header claims: it holds several "
            "arrays or is damaged; write one array with np.save"
        )
