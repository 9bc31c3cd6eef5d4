"""The parts of a file by `torch.save`: an archive without compression, and nothing but tensors.

torch reads the archive with another library than Python does. Where the two could see different
parts in one file, the file is refused.
"""

import re
import struct
import zipfile
from typing import BinaryIO

from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

MOST_PARTS = 1_000_000
_NOTES = ("byteorder", "version", ".format_version", ".storage_alignment", ".data/serialization_id")
_LARGEST_NOTE = 100  # bytes
_STORAGE = re.compile(r"data/([0-9]{1,9})")
_ENCRYPTED = 0x1
_END, _END_64, _LOCATOR_64 = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_IN_64_BIT_RECORD = 0xFFFFFFFF  # placeholder: the 64-bit record has the number


def pickle_and_sizes(stream: BinaryIO, size: int) -> tuple[zipfile.ZipInfo, dict[str, int]]:
    """The part with the pickle, and the bytes of every storage by its key.

    Args:
        stream: the file.
        size: of the file in bytes.

    Raises:
        Refused: it is no archive of torch.save, or its parts are not what the directory claims.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            _refuse_second_directory(stream, size, archive.start_dir)
            parts = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"it is no whole archive: {printable(error)}") from error
    if not parts or len(parts) > MOST_PARTS:
        raise Refused(f"it has {len(parts)} parts, expected 1 to {MOST_PARTS}")
    root = parts[0].filename.split("/")[0] + "/"
    found: dict[str, zipfile.ZipInfo] = {}
    for part in parts:
        name = part.filename.removeprefix(root) if part.filename.startswith(root) else ""
        _check_name(part, name)
        if name in found:
            raise Refused(f"two of its parts are called {printable(name)}")
        found[name] = part
    _check_sizes(parts, size)
    if "data.pkl" not in found:
        raise Refused("it has no data.pkl, which is where torch.save writes what a file holds")
    keys = {name: matched[1] for name in found if (matched := _STORAGE.fullmatch(name))}
    return found["data.pkl"], {key: found[name].file_size for name, key in keys.items()}


def _refuse_second_directory(stream: BinaryIO, size: int, start: int) -> None:
    """Makes sure that the directory at the file's end is the only one that a reader can find.

    Args:
        stream: the file.
        size: of the file in bytes.
        start: of the directory, as Python found it.
    """
    stream.seek(max(size - 98, 0))
    tail = stream.read(98)  # 56 + 20 bytes of the 64-bit records, 22 of the end
    end, locator, record = tail[-22:], tail[-42:-22], tail[:56]
    if len(end) < 22 or end[:4] != _END or end[20:] != b"\0\0":
        raise Refused("its directory does not stand at its end")
    (offset,) = struct.unpack("<L", end[16:20])
    if locator[:4] == _LOCATOR_64:
        (place,) = struct.unpack("<Q", locator[8:16])
        if record[:4] != _END_64 or place != size - 98:
            raise Refused("it has a second directory")
        (offset_64,) = struct.unpack("<Q", record[48:56])
        if offset not in (offset_64, _IN_64_BIT_RECORD):
            raise Refused("it has a second directory")
        offset = offset_64
    if offset != start:
        raise Refused("something stands before the archive")


def _check_sizes(parts: list[zipfile.ZipInfo], size: int) -> None:
    """Compares what the directory claims to the size of the file."""
    for part in parts:
        name = printable(part.filename[:80])
        if part.flag_bits & _ENCRYPTED or part.compress_type != zipfile.ZIP_STORED:
            raise Refused(f"its part {name} is compressed or encrypted; torch.save does neither")
        if part.compress_size != part.file_size:
            raise Refused(f"its part {name} claims two sizes")
    if (total := sum(part.file_size for part in parts)) > size:
        raise Refused(f"its parts claim {total} bytes, the file has {size}")


def _check_name(part: zipfile.ZipInfo, name: str) -> None:
    """Refuses parts that torch.save does not write, such as the code of a TorchScript archive."""
    if name in _NOTES and part.file_size <= _LARGEST_NOTE:
        return
    if name != "data.pkl" and not _STORAGE.fullmatch(name):
        raise Refused(
            f"it has a part {printable(part.filename[:80])}; a file by torch.save of a state dict "
            "has data.pkl, the storages data/0, data/1, … and no others (TorchScript archives are "
            "programs and are not read)"
        )
