"""Parts of image files that may be far larger than the size that the header states."""

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from vmf_embeddings.untrusted.refused import Refused

if TYPE_CHECKING:
    from PIL.Image import Image

ICON_SIDE = 4096  # of an image inside an icon; they have at most 1024
MOST_TILE = 2**22  # pixels of a tile of a TIFF that is larger than its image; usual ones have 2^16
MOST_JPEG2000 = 3 * 2**29  # bytes that decoding takes: 130 million RGB pixels in a single tile
SMALL_JPEG2000 = 2**28  # bytes; beyond, at most 8 for each value of the image; usually it is 4
_BYTES_PER_BLOCK = 600  # that OpenJPEG keeps of a code-block, however small (measured: 400 to 570)
_BYTES_PER_TILE = 12_500  # and of a tile (measured: 10,500 with one channel, 12,000 with four)
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # tags of TIFF
_SIZ, _COD, _COC, _SOT, _SOD = 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFF93  # markers of JPEG 2000
_MOST_PARTS = 10_000  # chunks, boxes and markers that are looked at


class TooManyPixels(Refused):
    """A file states more pixels than are decoded.

    Attributes:
        n_pixels: that it states.
    """

    def __init__(self, message: str, n_pixels: int) -> None:
        super().__init__(message, n_pixels)
        self.n_pixels = n_pixels

    def __str__(self) -> str:
        return str(self.args[0])


def check_icon(stream: BinaryIO) -> None:
    """Refuses a Windows icon that holds a large image: Pillow decodes it when it opens the file.

    Args:
        stream: at its start, and afterwards again.

    Raises:
        Refused: naming its inner size.
    """
    head = stream.read(6)
    if head[:4] == b"\0\0\1\0":
        for _ in range(struct.unpack("<H", head[4:6])[0]):
            entry = stream.read(16)
            if len(entry) < 16:
                break
            after = stream.tell()
            start = struct.unpack("<I", entry[12:])[0]
            if not _check_png(stream, start):
                stream.seek(start)
                sizes = stream.read(12)[4:]
                if len(sizes) == 8:
                    width, height = map(abs, struct.unpack("<ii", sizes))
                    _check_icon_size(width, height // 2)  # twice, for the mask
            stream.seek(after)
    stream.seek(0)


def check_inner(image: "Image", stream: BinaryIO, *, trusted: bool) -> None:
    """Refuses parts of an image file that take far more memory than the image.

    Args:
        image: opened, not decoded.
        stream: its file, whose position stays.
        trusted: whether the user vouched for large images.

    Raises:
        TooManyPixels: decoding a JPEG 2000 would take too much memory.
        Refused: an image in an icon or a tile of a TIFF is too large, or hides its size; or it may
            hold a JPEG of any size.
    """
    at = stream.tell()
    if image.format == "ICNS":
        for start, length in image.icns.dct.values():  # type: ignore[attr-defined]
            _check_png(stream, start)
            _check_jpeg2000_in_icon(stream, start, start + length)
    elif image.format == "JPEG2000" and not trusted:
        _check_jpeg2000(stream, 0, 2**63)
    elif image.format == "TIFF":
        _check_tile(image)
    elif image.format == "BLP":
        stream.seek(0)
        if stream.read(8) == b"BLP1\0\0\0\0":
            raise Refused("textures that hold a JPEG are not read; convert it to PNG")
    stream.seek(at)


def _check_icon_size(width: int, height: int) -> None:
    if max(width, height) > ICON_SIDE:
        raise Refused(
            f"the icon states {width} x {height} pixels, more than {ICON_SIDE} on a side; convert "
            "it to PNG"
        )


def _check_png(stream: BinaryIO, start: int) -> bool:
    """Whether a PNG begins at `start`; refuses a large one, wherever it states its size."""
    stream.seek(start)
    if stream.read(8) != b"\x89PNG\r\n\x1a\n":
        return False
    for _ in range(_MOST_PARTS):
        head = stream.read(16)
        if len(head) < 16 or head[4:8] == b"IDAT":
            return True
        length, kind = struct.unpack(">I4s", head[:8])
        if kind == b"IHDR":
            _check_icon_size(*struct.unpack(">II", head[8:]))
        stream.seek(length - 8 + 4, 1)  # the chunk's content and checksum
    raise Refused("an image inside the icon has too many chunks")


def _check_jpeg2000_in_icon(stream: BinaryIO, start: int, end: int) -> None:
    """Refuses a large JPEG 2000 at `start`, and one that does not say how large it is."""
    stream.seek(start)
    head = stream.read(12)
    if not (head[:4] == b"\xff\x4f\xff\x51" or b"\r\n\x87\n" in head):
        return
    size = next((part for kind, part in _markers(stream, start, end) if kind == _SIZ), b"")
    if len(size) < 34:
        raise Refused("an image inside the icon does not state its size")
    _check_icon_size(*struct.unpack(">II", size[2:10]))
    _check_jpeg2000(stream, start, end)


def _check_tile(image: "Image") -> None:
    """Refuses a TIFF of tiles that are larger than the whole image."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    if _TILE_WIDTH in tags and _TILE_LENGTH in tags:
        width, length = int(tags[_TILE_WIDTH]), int(tags[_TILE_LENGTH])
        if width * length > max(MOST_TILE, 2 * image.width * image.height):
            raise Refused(
                f"it states tiles of {width} x {length} pixels for an image of {image.width} x "
                f"{image.height}; convert it to PNG"
            )


def _check_jpeg2000(stream: BinaryIO, start: int, end: int) -> None:
    """Refuses a JPEG 2000 that takes far more memory than its image while it is decoded."""
    image = tile = n_channels = n_tiles = 0
    blocks = 0.0
    for kind, part in _markers(stream, start, end):
        if kind == _SIZ and len(part) >= 36:
            right, bottom, left, top, width, height = struct.unpack(">6I", part[2:26])
            n_channels = struct.unpack(">H", part[34:36])[0]
            image = max(0, right - left) * max(0, bottom - top)
            tile = min(width, max(0, right - left)) * min(height, max(0, bottom - top))
            n_tiles = -(-right // max(1, width)) * -(-bottom // max(1, height))
        elif kind in (_COD, _COC):
            blocks = max(blocks, _blocks_per_value(kind, part, n_channels))
    bytes_per_value = 4 + _BYTES_PER_BLOCK * blocks
    expected = int(tile * n_channels * bytes_per_value) + n_tiles * _BYTES_PER_TILE
    if expected > min(MOST_JPEG2000, max(SMALL_JPEG2000, 8 * image * n_channels)):
        raise TooManyPixels(
            f"decoding {image} pixels in {n_tiles} tiles, of {1 / max(blocks, 1e-9):.0f} values in "
            f"a block, would take {expected} bytes of memory",
            image,
        )


def _blocks_per_value(kind: int, part: bytes, n_channels: int) -> float:
    """Code-blocks for each value of a channel, by a COD or COC segment.

    Resolution r of 0..R has 4^(r - R) of the values, and its blocks are no larger than half its
    precincts.
    """
    at = 5 if kind == _COD else 2 + (n_channels > 256)  # where the number of levels stands
    has_precincts = bool(part[:at] and part[0 if kind == _COD else at - 1] & 1)
    if len(part) < at + 3:
        return 0.0
    n_levels, *exponents = part[at : at + 3]
    width, height = (2 + exponent % 16 for exponent in exponents)
    precincts = part[at + 5 :] if has_precincts else b""
    total = 0.0
    for r in range(min(n_levels, 32) + 1):
        size = precincts[r] if r < len(precincts) else 0xFF
        half = 1 if r else 0
        w = min(width, max(0, (size & 15) - half))
        h = min(height, max(0, (size >> 4) - half))
        total += 4.0 ** (r - min(n_levels, 32)) / 2 ** (w + h)
    return total


def _markers(stream: BinaryIO, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Markers of the headers of a JPEG 2000 and of its tiles, with their segments' content."""
    at = _codestream(stream, start, end)
    tile_end = end
    for _ in range(_MOST_PARTS):
        stream.seek(at)
        head = stream.read(4)
        if at < start or at >= end or len(head) < 4:
            return
        kind, length = struct.unpack(">HH", head)
        part = stream.read(max(0, length - 2))
        yield kind, part
        if kind == _SOT and len(part) >= 6:
            tile_end = at + struct.unpack(">I", part[2:6])[0]
        at = tile_end if kind == _SOD else at + 2 + length


def _codestream(stream: BinaryIO, start: int, end: int) -> int:
    """Where the first segment of a JPEG 2000 stands, which may begin with boxes; else `end`."""
    stream.seek(start)
    if stream.read(2) == b"\xff\x4f":
        return start + 2
    at = start
    for _ in range(_MOST_PARTS):
        stream.seek(at)
        head = stream.read(16)
        if len(head) < 10 or at >= end:
            break
        length, kind = struct.unpack(">I4s", head[:8])
        size = 16 if length == 1 else 8
        if kind == b"jp2c":
            return at + size + 2
        length = int.from_bytes(head[8:16], "big") if length == 1 else length
        if length < 8:
            break
        at += length
    return end
