"""What the numbers of an image file mean where they have more than 8 bits, read before decoding."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF


def note_values(image: "Image") -> None:
    """Adds `value_range` to `image.info` where the mode does not tell it: what is black and white.

    The transparent colour of a 16-bit RGB file becomes that of the upper 8 bits, which are what
    Pillow keeps of its pixels.

    Args:
        image: opened, not decoded; changed in place.
    """
    info, tile = image.info, getattr(image, "tile", None)
    raw = str(tile[0][3]) if tile else ""
    if isinstance(info.get("transparency"), tuple) and "16" in raw:
        info["transparency"] = tuple(int(value) >> 8 for value in info["transparency"])
    if not image.mode.startswith("I"):
        return
    if image.format in ("PPM", "PNG"):  # integers of 32 bits that were scaled to 16
        info["value_range"] = (0, 65535)
    elif image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        bits = tags.get(_BITS, (1,))[0]
        is_unsigned = tags.get(_SAMPLE_FORMAT, (1,))[0] == 1
        if bits in (12, 16) and is_unsigned:
            top = 2**bits - 1
            info["value_range"] = (top, 0) if tags.get(_PHOTOMETRIC) == 0 else (0, top)
