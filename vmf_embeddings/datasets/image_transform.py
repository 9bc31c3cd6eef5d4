"""From one decoded image of any size to the tensor that a network gets at evaluation.

A trained run stores its `ImageTransform` as plain JSON values, and so embeds new images without its
training data.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.datasets.decoded import MODES, as_pillow
from vmf_embeddings.datasets.normalisation import normalise, scale_and_shift
from vmf_embeddings.untrusted.image_pixels import WHITE, Colour
from vmf_embeddings.untrusted.images import MOST_PIXELS
from vmf_embeddings.untrusted.records import Kind, check_record
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

if TYPE_CHECKING:
    from PIL.Image import Image

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
LARGEST_SIDE = 2**13  # pixels of a resized image; its square stays below MOST_PIXELS
LARGEST_MEAN, SMALLEST_STD, LARGEST_STD = 1e6, 1e-30, 1e30  # finite in float32 after division


@dataclass(frozen=True)
class ImageTransform:
    """Resizes, cuts out the centre and normalises one image, without randomness.

    An image that already has H x W pixels is not interpolated where `resize` is None.

    Attributes:
        size: (H, W) of the result.
        resize: length that the short side is resized to, the aspect ratio kept, >= H and W; None:
            the image is made as small as it can be while it still covers H x W.
        squash: whether the image is resized to a square of side `resize` (or to H x W), whatever
            its aspect ratio.
        channels: 1 (grey) or 3 (RGB).
        mean: per channel, of values in [0, 1].
        std: per channel, > 0.
        bgr: whether the channels are reversed after normalising.
        fused: whether the normalisation is computed as x * (1 / (255 std)) - mean / std, as for
            data sets in memory, instead of (x / 255 - mean) / std. The two differ by rounding.
        background: red, green and blue in 0..255 of what is seen where an image is transparent;
            images are also turned as their EXIF orientation says. None: opacity is dropped and the
            orientation ignored, as up to version 1.0.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos", in Pillow's version, which
            averages over all pixels that fall together where it shrinks an image.

    Raises:
        Refused: values are out of range, or contradict one another.

    >>> transform = ImageTransform(size=(28, 28), channels=1, mean=(0.0,), std=(1.0,))
    >>> transform(np.zeros((40, 60, 3), np.uint8)).shape
    torch.Size([1, 28, 28])
    """

    size: tuple[int, int]
    resize: int | None = None
    squash: bool = False
    channels: int = 3
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    bgr: bool = False
    fused: bool = False
    interpolation: str = "bilinear"
    background: Colour | None = WHITE

    def __post_init__(self) -> None:
        _check_values(self.to_meta(), "image transform")

    def __call__(self, image: Any) -> Tensor:
        """The tensor that the network gets for one image.

        Args:
            image: a Pillow image; a uint8 array [H', W'] or [H', W', ch]; or a uint8 tensor
                [ch, H', W'], with 1, 3 or 4 channels.

        Returns:
            float32 [channels, H, W], contiguous, on the CPU.

        Raises:
            Refused: it is no such image, or so narrow that it would be resized to more than
                `untrusted.images.MOST_PIXELS` pixels.
        """
        return self.normalised(self.pixels(image))

    def pixels(self, image: Any, *, side: float = 1.0) -> Tensor:
        """The pixels of the result before they are normalised, uint8 [channels, H, W].

        Args:
            image: see `__call__`.
            side: of its central part that is used, enlarged, over its own side, in (0, 1].

        Raises:
            Refused: see `__call__`.
        """
        upright = as_pillow(image, self.channels, self.background)
        return _pixels(self._cropped(self._resized(upright, side)))

    def normalised(self, pixels: Tensor) -> Tensor:
        """Pixels uint8 [channels, H, W] as the network gets them, float32."""
        if self.fused:
            result = normalise(pixels[None], *scale_and_shift(self.mean, self.std))[0]
        else:
            mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
            result = pixels.float().div_(255.0).sub_(mean).div_(std)
        return result.flip(0) if self.bgr else result

    def to_meta(self) -> dict[str, Any]:
        """All attributes as JSON values; `from_meta` gives an equal transform."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_meta(cls, meta: Any, source: str = "image transform") -> Self:
        """The transform that `to_meta` described; what was received is checked first.

        Args:
            meta: parsed JSON.
            source: where it comes from, for messages.

        Raises:
            Refused: naming the key, what was expected and what came.
        """
        if not isinstance(meta, Mapping):
            raise Refused(f"{source} must be a JSON object, got {type(meta).__name__}")
        if _ADDED_LATER not in meta:  # written before: as images were read then
            meta = {**meta, _ADDED_LATER: None}
        if meta.keys() != _KINDS.keys():
            unknown = [printable(repr(key)[:60]) for key in meta if key not in _KINDS]
            missing = [key for key in _KINDS if key not in meta]
            raise Refused(
                f"{source} must have the keys {', '.join(_KINDS)}; missing: "
                f"{', '.join(missing) or 'none'}, unknown: {', '.join(unknown[:10]) or 'none'}. "
                "Was it written by another version?"
            )
        _check_values(meta, source)
        numbers = {key: tuple(map(float, meta[key])) for key in ("mean", "std")}
        background = None if meta[_ADDED_LATER] is None else tuple(meta[_ADDED_LATER])
        return cls(**{**meta, **numbers, "size": tuple(meta["size"]), _ADDED_LATER: background})

    def _resized(self, image: "Image", side: float = 1.0) -> "Image":
        from PIL import Image

        width, height = self._size_before_crop(*image.size)
        if (width, height) == image.size and side == 1.0:
            return image
        self.refuse_narrow(*image.size)
        method = Image.Resampling[self.interpolation.upper()]
        if side == 1.0:
            return image.resize((width, height), method)
        x, y = ((1 - side) / 2 * length for length in image.size)
        box = (x, y, image.width - x, image.height - y)
        return image.resize((width, height), method, box=box)

    def refuse_narrow(self, width: int, height: int) -> None:
        """Refuses an image so narrow that it would be resized to more than `MOST_PIXELS` pixels.

        Raises:
            Refused: stating both sizes.
        """
        columns, rows = self._size_before_crop(width, height)
        if columns * rows > MOST_PIXELS:
            raise Refused(
                f"an image of {width} x {height} pixels would be resized to {columns} x {rows}, "
                f"more than {MOST_PIXELS}; crop it first"
            )

    def _size_before_crop(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) that an image of such a size is resized to."""
        rows, columns = self.size
        if self.squash:
            return (columns, rows) if self.resize is None else (self.resize, self.resize)
        if self.resize is not None:  # in torchvision's arithmetic, so that the same pixels result
            short, long = min(width, height), max(width, height)
            longer = int(self.resize * long / short)
            return (self.resize, longer) if width <= height else (longer, self.resize)
        if rows * width >= columns * height:  # the height decides
            return max(columns, width * rows // height), rows
        return columns, max(rows, height * columns // width)

    def _cropped(self, image: "Image") -> "Image":
        rows, columns = self.size
        left, top = round((image.width - columns) / 2), round((image.height - rows) / 2)
        return image.crop((left, top, left + columns, top + rows))


def _pixels(image: "Image") -> Tensor:
    """uint8 [channels, H, W], contiguous."""
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return pixels.view(image.height, image.width, -1).permute(2, 0, 1).contiguous()


def _is_side(value: Any) -> bool:
    return type(value) is int and 1 <= value <= LARGEST_SIDE


def _are_numbers(value: Any) -> bool:
    """Whether it is a list of numbers, none of them NaN, infinite or out of any range used."""
    return isinstance(value, list) and all(
        type(number) in (int, float) and abs(number) <= LARGEST_STD for number in value
    )


def _is_colour(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(type(number) is int and 0 <= number <= 255 for number in value)
    )


_FLAG = Kind("true or false", lambda value: isinstance(value, bool))
_NUMBERS = Kind("a list of finite numbers, one per channel", _are_numbers)
_KINDS = {
    "size": Kind(
        f"[height, width] of 1 to {LARGEST_SIDE} pixels",
        lambda value: isinstance(value, list) and len(value) == 2 and all(map(_is_side, value)),
    ),
    "resize": Kind(f"a whole number from 1 to {LARGEST_SIDE}, or null", _is_side),
    "squash": _FLAG,
    "channels": Kind("1 or 3", lambda value: type(value) is int and value in MODES),
    "mean": _NUMBERS,
    "std": _NUMBERS,
    "bgr": _FLAG,
    "fused": _FLAG,
    "interpolation": Kind(
        f"one of {', '.join(INTERPOLATIONS)}",
        lambda value: isinstance(value, str) and value in INTERPOLATIONS,
    ),
    "background": Kind("[red, green, blue] of 0 to 255, or null", _is_colour),
}
_ADDED_LATER = "background"
_MAY_BE_NULL = ("resize", "background")


def _check_values(meta: Mapping[str, Any], source: str) -> None:
    """Checks every value by itself, then those that depend on one another.

    Raises:
        Refused: naming the key.
    """
    try:
        check_record(meta, _KINDS, source)
    except ValueError as error:
        raise Refused(str(error)) from error
    for key in _KINDS:
        if meta[key] is None and key not in _MAY_BE_NULL:
            raise Refused(f"{source}: {key} must be {_KINDS[key].words}, got null")
    _check_normalisation(meta, source)
    if meta["resize"] is not None and meta["resize"] < max(meta["size"]):
        raise Refused(
            f"{source}: resize must be at least {max(meta['size'])}, got {meta['resize']}"
        )


def _check_normalisation(meta: Mapping[str, Any], source: str) -> None:
    channels, mean, std = meta["channels"], meta["mean"], meta["std"]
    if not len(mean) == len(std) == channels:
        raise Refused(
            f"{source}: mean and std must have {channels} numbers each (channels={channels}), got "
            f"{len(mean)} and {len(std)}"
        )
    if (
        max(map(abs, mean)) > LARGEST_MEAN
        or not SMALLEST_STD <= min(std) <= max(std) <= LARGEST_STD
    ):
        raise Refused(
            f"{source}: mean must lie in [-{LARGEST_MEAN:g}, {LARGEST_MEAN:g}] and std in "
            f"[{SMALLEST_STD:g}, {LARGEST_STD:g}], got {mean} and {std}"
        )
    if meta["bgr"] and channels != 3:
        raise Refused(f"{source}: bgr needs 3 channels, got {channels}")


def check_resizing(interpolation: str, crop_fraction: float | None) -> None:
    """Refuses an unknown interpolation, and a fraction outside (0, 1].

    Raises:
        ValueError: names the key.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"dataset.params.interpolation is one of {', '.join(INTERPOLATIONS)}; got "
            f"{interpolation!r}"
        )
    if crop_fraction is not None and not 0 < crop_fraction <= 1:
        raise ValueError(
            f"dataset.params.crop_fraction must be in (0, 1] or null, got {crop_fraction}"
        )
