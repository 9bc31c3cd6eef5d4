"""Decoded images in the forms that people hold them in, as 8-bit grey or RGB Pillow images."""

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from vmf_embeddings.untrusted.image_pixels import WHITE, Colour, convert_mode
from vmf_embeddings.untrusted.refused import Refused

if TYPE_CHECKING:
    from PIL.Image import Image

MODES = {1: "L", 3: "RGB"}  # number of channels -> Pillow's name for them
CHANNELS = (1, 3, 4)  # of arrays and tensors; the fourth is opacity


def as_pillow(image: Any, channels: int, background: Colour | None = WHITE) -> "Image":
    """An image as a Pillow image with one (grey) or three (RGB) channels of 8 bits.

    A Pillow image is read as its file would be, see `convert_mode`: also where a program opened it,
    its EXIF orientation is applied as long as the image has it.

    Args:
        image: a Pillow image of any mode with 8 or 16 bits; a uint8 array [H, W] or [H, W, ch]; or
            a uint8 tensor [ch, H, W]; ch is 1, 3 (RGB) or 4 (RGB and opacity).
        channels: 1 or 3.
        background: what is seen where the image is transparent; None = opacity is dropped.

    Raises:
        Refused: it is something else, or empty; the message says how to convert it.
    """
    from PIL import Image

    if isinstance(image, Tensor):
        image = _from_tensor(image)
    elif isinstance(image, np.ndarray):
        image = _from_array(image)
    elif not isinstance(image, Image.Image):
        raise Refused(
            "expected a Pillow image, a uint8 array [H, W] or [H, W, channels], or a uint8 tensor "
            f"[channels, H, W]; got {type(image).__name__}"
        )
    if 0 in image.size:
        raise Refused(f"expected an image with pixels, got {image.size[0]} x {image.size[1]}")
    return convert_mode(image, MODES[channels], background)


def _from_tensor(image: Tensor) -> "Image":
    if image.ndim != 3 or image.shape[0] not in CHANNELS:
        raise Refused(
            f"expected a tensor [channels, H, W] with {_either(CHANNELS)} channels, got "
            f"{list(image.shape)}; permute(2, 0, 1) turns [H, W, channels] into it"
        )
    return _from_array(image.detach().permute(1, 2, 0).cpu().numpy())


def _from_array(image: np.ndarray) -> "Image":
    from PIL import Image

    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in CHANNELS):
        raise Refused(
            f"expected an array [H, W] or [H, W, channels] with {_either(CHANNELS)} channels, got "
            f"{list(image.shape)}; transpose(1, 2, 0) turns [channels, H, W] into it"
        )
    if image.dtype != np.uint8:
        raise Refused(
            f"expected uint8 values 0..255, got {image.dtype}; multiply values in [0, 1] by 255 "
            "and round them"
        )
    if 0 in image.shape:
        raise Refused(f"expected an image with pixels, got {list(image.shape)}")
    flat = image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image
    return Image.fromarray(np.ascontiguousarray(flat))


def _either(values: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, values[:-1]))} or {values[-1]}"
