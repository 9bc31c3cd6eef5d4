"""Decoded images as 8-bit grey or RGB: upright, on a background, in the range of their values.

What viewers do and Pillow's `convert` does not: a camera's orientation is applied, transparent
pixels show what is behind them, and more than 8 bits are scaled instead of clipped.
"""

from typing import TYPE_CHECKING

import numpy as np

from vmf_embeddings.untrusted.image_headers import has_opacity, orientation_of
from vmf_embeddings.untrusted.refused import Refused

if TYPE_CHECKING:
    from PIL.Image import Image

Colour = tuple[int, int, int]  # red, green, blue in 0..255
WHITE: Colour = (255, 255, 255)
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
_ORIENTATION_KEYS = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")


def convert_mode(image: "Image", mode: str, background: Colour | None = WHITE) -> "Image":
    """A Pillow image in mode "L" or "RGB".

    - It is turned and mirrored as its EXIF orientation says.
    - Where opacity varies, it is put on the background: c * a + background * (1 - a). An image
      without a single visible pixel keeps its colours: its opacity says nothing.
    - Of 16-bit values the upper 8 bits are kept (Pillow's own conversion clips them at 255), and of
      12-bit values those of 4095; where a TIFF says that white is zero, they are inverted.
    - Floating-point values must lie in [0, 1] and are multiplied by 255.
    - RGB becomes grey by Pillow's weights (0.299, 0.587, 0.114).

    Args:
        image: decoded, in any mode.
        mode: "L" or "RGB".
        background: None = opacity is dropped and orientation ignored, as up to version 1.0.

    Raises:
        Refused: pixels have 32 bits, or are floating-point numbers outside [0, 1].
    """
    if background is not None:
        image = _upright(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if image.mode in _PREMULTIPLIED:  # from which Pillow converts to nothing else
        image = image.convert(_PREMULTIPLIED[image.mode])
    if background is not None and has_opacity(image):
        image = _on_background(image, background)
    return image if image.mode == mode else image.convert(mode)


def _upright(image: "Image") -> "Image":
    """The image as its EXIF orientation says; itself where that is 1."""
    orientation = orientation_of(image)
    if orientation == 1:
        return image
    from PIL.Image import Transpose

    image.load()  # a TIFF is turned by this
    if orientation_of(image) == 1:
        return image
    turned = image.transpose(
        {
            2: Transpose.FLIP_LEFT_RIGHT,
            3: Transpose.ROTATE_180,
            4: Transpose.FLIP_TOP_BOTTOM,
            5: Transpose.TRANSPOSE,
            6: Transpose.ROTATE_270,
            7: Transpose.TRANSVERSE,
            8: Transpose.ROTATE_90,
        }[orientation]
    )
    # or the next reader turns it again
    turned.info = {k: v for k, v in turned.info.items() if k not in _ORIENTATION_KEYS}
    return turned


def _eight_bits(image: "Image") -> "Image":
    """An image of 12, 16 or 32 bits in mode "L", or "LA" if one of its values is transparent."""
    from PIL import Image

    values = np.asarray(image)
    if image.mode == "F":
        grey = _from_unit_range(values)
    elif (value_range := image.info.get("value_range", _usual_range(image))) is None:
        raise Refused(
            f"pixels of mode {image.mode} have no fixed range, and here lie in "
            f"[{values.min()}, {values.max()}]; save it with 8 bits"
        )
    else:
        black, white = value_range
        shift = max(black, white).bit_length() - 8
        grey = (np.clip(values, 0, max(black, white)) >> shift).astype(np.uint8)
        grey = 255 - grey if white < black else grey
    result = Image.fromarray(grey)
    if isinstance(transparent := image.info.get("transparency"), int):
        result.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return result


def _from_unit_range(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if not 0.0 <= low <= high <= 1.0:  # false for NaN
        raise Refused(
            "floating-point pixels must lie in [0, 1], where 1 is white; here they lie in "
            f"[{low:g}, {high:g}]. Scale them, or save it with 8 bits"
        )
    return np.rint(values * 255.0).astype(np.uint8)


def _usual_range(image: "Image") -> tuple[int, int] | None:
    """Black and white of integers: 16 bits where the mode says so, unknown for 32 bits."""
    return (0, 65535) if image.mode.startswith("I;16") else None


def _on_background(image: "Image", background: Colour) -> "Image":
    """The image in mode "RGB" over a colour; itself where none, or all, is transparent."""
    from PIL import Image

    with_opacity = image.convert("RGBA")
    opacity = with_opacity.getchannel("A")
    lowest, highest = opacity.getextrema()
    if lowest == 255 or highest == 0:
        return image
    result = Image.new("RGB", image.size, background)
    result.paste(with_opacity.convert("RGB"), mask=opacity)
    return result
