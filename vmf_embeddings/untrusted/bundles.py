"""Zip archives of a few named parts, without compression, that others may have written."""

import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from vmf_embeddings.untrusted.files import open_regular
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

_ENCRYPTED = 0x1


def read_parts(path: str | Path, largest: Mapping[str, int]) -> dict[str, bytes]:
    """The content of every part of an archive; nothing is written.

    Sizes are compared with that of the file before memory is taken, and names must be those that
    are expected, so none of them can lead anywhere.

    Args:
        path: of the archive.
        largest: name of each part that it must have -> bytes it may have at most.

    Returns:
        Name -> content.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: it is no such archive, is damaged, has other parts, or sizes that it does not have.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        try:
            with zipfile.ZipFile(stream) as archive:
                parts = archive.infolist()
                _check(parts, largest, size)
                return {part.filename: archive.read(part) for part in parts}
        except Refused as error:
            raise Refused(f"{path} is no bundle: {error}") from error
        except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, ValueError, struct.error
                ) as error:  # fmt: skip
            raise Refused(f"{path} is no bundle, or damaged: {printable(error)[:200]}") from error


def _check(parts: list[zipfile.ZipInfo], largest: Mapping[str, int], size: int) -> None:
    names = [part.filename for part in parts]
    if sorted(names) != sorted(largest):
        shown = printable(", ".join(names[:8]))[:200]
        raise Refused(f"expected the parts {', '.join(largest)}, it has {shown or 'none'}")
    for part in parts:
        if part.flag_bits & _ENCRYPTED or part.compress_type != zipfile.ZIP_STORED:
            raise Refused(f"its part {part.filename} is compressed or encrypted; write it anew "
                          "with vmf-embeddings export RUN -o NAME.zip")  # fmt: skip
        if part.compress_size != part.file_size or part.file_size > largest[part.filename]:
            raise Refused(f"its part {part.filename} claims {part.file_size} bytes")
    if sum(part.file_size for part in parts) > size:
        raise Refused(f"its parts claim more than the {size} bytes of the file")
