"""Images from untrusted files: raster formats only, with a limit on pixels per byte of the file."""

import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from vmf_embeddings.untrusted.files import open_regular
from vmf_embeddings.untrusted.refused import Refused

if TYPE_CHECKING:
    from PIL.Image import Image

# Decoded inside Pillow and its libraries from the bytes of this one file. Left out on purpose: EPS
# starts Ghostscript; WMF, BUFR, GRIB and HDF5 call what others register; FPX, MIC and IPTC open a
# file inside the file; ICO, ICNS, BLP and DCX hold images with headers of their own; FITS and PSD
# unpack before their size is known; the rest is read by Python code that hardly anybody uses.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "JPEG2000", "TGA")
MOST_BYTES = 2**29  # of a file: 100 million pixels of 3 bytes, not compressed, pass
MOST_PIXELS = 178_956_970  # where Pillow itself gives up: 0.7 GB as RGB
SMALL = 2**24  # 4096 x 4096 pixels, 64 MB as RGB: always decoded
PIXELS_PER_BYTE = 200  # beyond SMALL; a JPEG of a single colour has at most 170

# what Pillow's readers raise where a header contradicts itself
_BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError,
    AssertionError, RuntimeError, MemoryError, EOFError, struct.error, zlib.error,
)  # fmt: skip


def read_image(path: str | Path, *, most_pixels: int = MOST_PIXELS) -> "Image":
    """The first image of a file, decoded whole; the file is closed afterwards.

    Args:
        path: of a regular file in one of `FORMATS`; its content says which, not its name.
        most_pixels: how many the header may state; an image beyond 4096 x 4096 may also have at
            most 200 pixels for each byte of the file.

    Returns:
        A Pillow image in the mode of the file.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: naming the file, where it is a pipe or a device, in another format, larger than
            the limits, or cannot be decoded.
    """
    from PIL import Image

    Image.init()  # a format that this Pillow lacks must not be asked for
    formats = [name for name in FORMATS if name in Image.OPEN]
    with open_regular(path) as stream:
        n_bytes = os.fstat(stream.fileno()).st_size
        if n_bytes > MOST_BYTES:
            raise Refused(
                f"cannot decode {path}: {n_bytes} bytes, images of at most {MOST_BYTES} are read"
            )
        try:
            image = Image.open(stream, formats=formats)
            _check_size(image.size, n_bytes, most_pixels)
            image.load()
        except Image.UnidentifiedImageError as error:
            raise Refused(
                f"cannot decode {path}: no image in a format that is read here "
                f"({', '.join(formats)}); convert it to PNG"
            ) from error
        except (*_BROKEN, Image.DecompressionBombError) as error:
            what = str(error) or type(error).__name__
            raise Refused(f"cannot decode {path}: {what}") from error
    return image


def _check_size(size: tuple[int, int], n_bytes: int, most_pixels: int) -> None:
    """Refuses a header's size before memory is allocated for it.

    Raises:
        Refused: stating size and limit.
    """
    n_pixels = size[0] * size[1]
    if n_pixels > most_pixels:
        raise Refused(f"it states {size[0]} x {size[1]} pixels, more than {most_pixels}")
    if n_pixels > max(SMALL, PIXELS_PER_BYTE * n_bytes):
        raise Refused(
            f"it states {size[0]} x {size[1]} pixels in {n_bytes} bytes, which no photograph has"
        )


def inside(path: str | Path, folders: Iterable[str | Path]) -> Path | None:
    """Where a path leads once links are followed, if that lies in or below one of some folders.

    Args:
        path: relative to the current directory, or absolute.
        folders: that the user named or stands in; links that lead to them are followed as well.

    Returns:
        The path without links, or None where it lies elsewhere.

    Raises:
        Refused: no path can look like this (it holds a zero byte).
    """
    try:
        real = Path(os.path.realpath(path))
    except ValueError as error:
        raise Refused(f"{path!r} is no path: {error}") from error
    return real if any(real.is_relative_to(os.path.realpath(f)) for f in folders) else None
