"""What is known of an image file before it is decoded: size, mode, orientation, and most faults."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from vmf_embeddings.untrusted.images import BROKEN, TooManyPixels, decoded_image, opened
from vmf_embeddings.untrusted.refused import Refused

if TYPE_CHECKING:
    from PIL.Image import Image

_TAIL = 64  # bytes at the end of a file in which its closing mark is looked for
_MARKS = {  # how files of a format end; where the mark is missing, the image is decoded to be sure
    "JPEG": b"\xff\xd9",
    "MPO": b"\xff\xd9",
    "PNG": b"IEND",
}
_ORIENTATION = 0x0112
_HAS_OPACITY = ("LA", "La", "PA", "RGBA", "RGBa")


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an image file states.

    Attributes:
        format: Pillow's name of the format, such as "JPEG".
        mode: Pillow's mode, such as "RGB", "P", "I;16".
        size: (width, height) in pixels, as stored; (0, 0) where it cannot be read.
        orientation: 1 to 8 as EXIF counts; 1 where nothing needs to be turned.
        has_opacity: whether some pixels may be transparent.
        has_more_frames: whether there are other pages or frames than the first; not for the
            previews that cameras add to a JPEG.
        fault: why the file cannot be read, naming it and the remedy; None where nothing is known.
        n_pixels_refused: pixels that the header states where they are more than is read, else 0.
    """

    format: str = ""
    mode: str = ""
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    has_opacity: bool = False
    has_more_frames: bool = False
    fault: str | None = None
    n_pixels_refused: int = 0


def probe(path: str | Path, *, most_pixels: int | None = None) -> ImageHeader:
    """Reads the header of an image file and looks whether the file is complete; raises nothing.

    Pixels are decoded only where a file's end is not as its format wants it, to tell a truncated
    file from one with something behind the image. What is broken inside is found by decoding alone.

    Args:
        path: of any kind: what is missing, empty, a folder, a pipe or no image is a fault.
        most_pixels: see `images.read_image`.
    """
    try:
        with opened(path, most_pixels) as image:
            header = _header(image)
            suspicious = _may_be_cut(image)
        if suspicious:
            with decoded_image(path, most_pixels=most_pixels):
                pass
        return header
    except FileNotFoundError:
        return ImageHeader(fault=f"{path} does not exist")
    except TooManyPixels as error:
        return ImageHeader(fault=str(error), n_pixels_refused=error.n_pixels)
    except Refused as error:
        return ImageHeader(fault=str(error))
    except OSError as error:
        return ImageHeader(fault=f"cannot read {path}: {error.strerror or error}")
    except ValueError as error:  # a path that holds a zero byte
        return ImageHeader(fault=f"{path!r} is no path: {error}")


def orientation_of(image: "Image") -> int:
    """EXIF's orientation of an image, 1 to 8; 1 where none is stated, or nonsense.

    Pixels of TIFF and AVIF files are turned by Pillow when they are decoded; for a TIFF that is
    not decoded yet, it is the one that will be applied.
    """
    if not ({"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"} & image.info.keys()):
        # Pillow keeps what a program set by hand in `_exif`; a TIFF has its tags instead
        if image.format != "TIFF" and getattr(image, "_exif", None) is None:
            return 1
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except BROKEN:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def has_opacity(image: "Image") -> bool:
    """Whether pixels of an image may be transparent, by mode, palette and transparent colour."""
    palette = image.palette
    return (
        image.mode in _HAS_OPACITY
        or "transparency" in image.info
        or (image.mode == "P" and palette is not None and palette.mode.endswith("A"))
    )


def _header(image: "Image") -> ImageHeader:
    return ImageHeader(
        format=image.format or "",
        mode=image.mode,
        size=image.size,
        orientation=orientation_of(image),
        has_opacity=has_opacity(image),
        has_more_frames=_has_more_frames(image),
    )


def _has_more_frames(image: "Image") -> bool:
    if image.format == "MPO":  # photographs with a preview or a gain map
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except BROKEN:
        return False


def _may_be_cut(image: "Image") -> bool:
    """Whether the end of the file does not look as its format wants it."""
    stream = image.fp
    if stream is None:  # an icon, which was decoded
        return False
    n_bytes = _size(stream)
    if image.format in _MARKS:
        return _MARKS[image.format] not in _read(stream, max(0, n_bytes - _TAIL), _TAIL)
    if image.format == "GIF":  # the end of a block, and the trailer
        return not _read(stream, n_bytes - _TAIL, _TAIL).rstrip(b"\0").endswith(b"\0;")
    if image.format in ("WEBP", "AVIF"):
        return _boxes_end(stream, n_bytes, image.format) > n_bytes
    if image.format == "TIFF":
        return _last_strip(image) > n_bytes
    # of other formats reading is about decoding
    return image.format != "JPEG2000" or b"\xff\xd9" not in _read(stream, n_bytes - _TAIL, _TAIL)


def _size(stream: BinaryIO) -> int:
    at = stream.tell()
    n_bytes = stream.seek(0, os.SEEK_END)
    stream.seek(at)
    return n_bytes


def _read(stream: BinaryIO, start: int, length: int) -> bytes:
    at = stream.tell()
    stream.seek(max(0, start))
    found = stream.read(length)
    stream.seek(at)
    return found


def _boxes_end(stream: BinaryIO, n_bytes: int, kind: str) -> int:
    """Where the file should end by the lengths of its parts."""
    if kind == "WEBP":
        return 8 + int.from_bytes(_read(stream, 4, 4), "little")
    end = 0
    for _ in range(64):
        head = _read(stream, end, 16)
        length = int.from_bytes(head[:4], "big")
        length = int.from_bytes(head[8:16], "big") if length == 1 else length
        if length < 8:  # 0: up to the end of the file
            return end
        end += length
        if end >= n_bytes:
            break
    return end


def _last_strip(image: "Image") -> int:
    """Where the last strip or tile of a TIFF's first page ends; 2^62 where it does not say."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    for offsets, lengths in ((273, 279), (324, 325)):
        if offsets in tags and lengths in tags:
            try:
                pairs = zip(tags[offsets], tags[lengths], strict=False)
                return max(int(start) + int(length) for start, length in pairs)
            except BROKEN:
                break
    return 2**62
