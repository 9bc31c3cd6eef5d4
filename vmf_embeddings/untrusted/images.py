"""Images from untrusted files: raster formats only, with a limit on pixels per byte of the file."""

import contextlib
import os
import re
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from vmf_embeddings.untrusted.image_formats import not_an_image, readable_formats
from vmf_embeddings.untrusted.image_inner import TooManyPixels, check_icon, check_inner
from vmf_embeddings.untrusted.image_values import note_values
from vmf_embeddings.untrusted.members import open_file
from vmf_embeddings.untrusted.refused import Refused

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_BYTES = 2**29  # of a file: 100 million pixels of 3 bytes, not compressed, pass
MOST_PIXELS = 178_956_970  # where Pillow itself gives up: 0.7 GB as RGB
SMALL = 2**24  # 4096 x 4096 pixels, 64 MB as RGB: always decoded
PIXELS_PER_BYTE = 200  # beyond SMALL; a JPEG of a single colour has at most 170
BYTES_PER_PIXEL = 8  # of the largest raw image: four channels of 16 bits
SMALL_JPEG2000 = 2**22  # pixels, which take up to 32 bytes each while they are decoded
LARGE_AT_ONCE = 2  # images beyond SMALL that the threads of a process hold decoded

# what Pillow's readers raise where a header contradicts itself
BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError,
    AssertionError, RuntimeError, MemoryError, EOFError, struct.error, zlib.error,
)  # fmt: skip

# Locks of the process, since memory is the process's: eight threads with 0.7 GB each are too many.
_large = threading.BoundedSemaphore(LARGE_AT_ONCE)
_pillow_limit = threading.Lock()


def _renew_locks() -> None:
    global _large, _pillow_limit
    _large, _pillow_limit = threading.BoundedSemaphore(LARGE_AT_ONCE), threading.Lock()


# a process that is forked while a thread holds a lock would wait for it for ever
os.register_at_fork(after_in_child=_renew_locks)


def read_image(path: str | Path, *, most_pixels: int | None = None) -> "Image":
    """The first image of a file, decoded whole; the file is closed afterwards.

    Args:
        path: of a regular file in one of `image_formats.FORMATS`; its content says which, not its
            name.
        most_pixels: how many the header may state. None = `MOST_PIXELS`, and an image beyond
            4096 x 4096 may also have at most 200 pixels for each byte of the file; a number is the
            caller's word that files are honest, and replaces both.

    Returns:
        A Pillow image in the mode of the file; neither turned nor put on a background.

    Raises:
        FileNotFoundError: there is no such file.
        TooManyPixels: naming the file, where it states more than the limits.
        Refused: naming the file, where it is a pipe or a device, in another format, or cannot be
            decoded.
    """
    with decoded_image(path, most_pixels=most_pixels) as image:
        return image


@contextlib.contextmanager
def decoded_image(
    path: str | Path, *, most_pixels: int | None = None, draft_side: int | None = None
) -> Iterator["Image"]:
    """The image of `read_image` for the length of a block, in which few other large ones are held.

    Of images beyond 4096 x 4096 pixels the threads of a process hold two at a time; others wait.

    Args:
        path: see `read_image`.
        most_pixels: see there.
        draft_side: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size, the smallest at which both
            sides have at least so many pixels, in a fraction of the time; None = at its size.

    Raises:
        As `read_image`.
    """
    with opened(path, most_pixels) as image:
        if draft_side is not None and image.format in ("JPEG", "MPO"):
            with _reporting(path):
                image.draft(None, (draft_side, draft_side))
        small = SMALL_JPEG2000 if image.format == "JPEG2000" else SMALL
        is_large = image.width * image.height > small
        with _large if is_large else contextlib.nullcontext():
            with _reporting(path), _lifted(most_pixels):
                image.load()
            yield image


@contextlib.contextmanager
def opened(path: str | Path, most_pixels: int | None = None) -> Iterator["Image"]:
    """An image of which only the header was read, within the limits of `read_image`.

    Raises:
        As `read_image`.
    """
    with open_file(path) as stream:
        n_bytes = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        limit = max(MOST_BYTES, BYTES_PER_PIXEL * (most_pixels or 0))
        if n_bytes > limit:
            raise TooManyPixels(
                f"cannot decode {path}: {n_bytes} bytes, images of at most {limit} are read",
                n_bytes // BYTES_PER_PIXEL + 1,
            )
        with _reporting(path):
            check_icon(stream)
            image = _opened(stream, most_pixels)
            check_size(image.size, n_bytes, most_pixels)
            check_inner(image, stream, trusted=most_pixels is not None)
            note_values(image)
        yield image


@contextlib.contextmanager
def _reporting(path: str | Path) -> Iterator[None]:
    """Turns what Pillow raises into `Refused`, which names the file."""
    from PIL import Image

    try:
        yield
    except TooManyPixels as error:
        raise TooManyPixels(f"cannot decode {path}: {error}", error.n_pixels) from error
    except Image.UnidentifiedImageError as error:
        with open_file(path) as stream:
            what = not_an_image(stream.read(64))
        raise Refused(f"cannot decode {path}: {what}") from error
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise Refused(f"cannot decode {path}: {_words(error)}") from error


def _words(error: BaseException) -> str:
    """Pillow's message, and what it means where that is known."""
    text = str(error) or type(error).__name__
    cut = ("truncated", "broken data stream", "unrecognized data stream", "incomplete", "eof")
    if isinstance(error, EOFError) or any(word in text.lower() for word in cut):
        return f"{text} (the file is cut off or damaged; copy or download it again)"
    return text


@contextlib.contextmanager
def _lifted(most_pixels: int | None) -> Iterator[None]:
    """Lifts Pillow's own limit where the caller's is higher; for one thread at a time."""
    from PIL import Image

    pillows = Image.MAX_IMAGE_PIXELS
    if most_pixels is None or pillows is None or most_pixels <= 2 * pillows:
        yield
        return
    with _pillow_limit:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def check_size(size: tuple[int, int], n_bytes: int, most_pixels: int | None) -> None:
    """Refuses a header's size before memory is allocated for it.

    Raises:
        TooManyPixels: stating size and limit.
    """
    n_pixels = size[0] * size[1]
    limit = MOST_PIXELS if most_pixels is None else most_pixels
    if n_pixels > limit:
        raise TooManyPixels(f"it states {size[0]} x {size[1]} pixels, more than {limit}", n_pixels)
    if most_pixels is None and n_pixels > max(SMALL, PIXELS_PER_BYTE * n_bytes):
        raise TooManyPixels(
            f"it states {size[0]} x {size[1]} pixels in {n_bytes} bytes, which no photograph has",
            n_pixels,
        )


def _opened(stream: BinaryIO, most_pixels: int | None) -> "Image":
    """Pillow's image of a stream, its header read."""
    from PIL import Image

    for lifted in (None, most_pixels):
        try:
            with _lifted(lifted):
                return Image.open(stream, formats=readable_formats())
        except Image.DecompressionBombError as error:
            _check_stated(str(error), most_pixels)
    raise Refused("its size cannot be told")


def _check_stated(message: str, most_pixels: int | None) -> None:
    """Refuses a size that Pillow gave up at, if the caller does not allow it.

    Raises:
        TooManyPixels: stating size and limit.
    """
    found = re.search(r"\((\d+) pixels\)", message)
    limit = MOST_PIXELS if most_pixels is None else most_pixels
    if found is None or int(found[1]) > limit:
        n_pixels = int(found[1]) if found else limit + 1
        raise TooManyPixels(f"it states {n_pixels} pixels, more than {limit}", n_pixels)


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
