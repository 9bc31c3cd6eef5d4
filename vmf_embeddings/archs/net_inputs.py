"""The images that the weights of a backbone were trained on: their size and normalisation."""

from dataclasses import dataclass

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class NetInputs:
    """How images are made for the weights of a network.

    Attributes:
        mean: per channel (red, green, blue), subtracted from values in [0, 1].
        std: per channel, divides them.
        image_size: side of the square input in pixels.
        crop_fraction: side of the centre crop over the short side of the resized image, in (0, 1].
        interpolation: of the resizing, such as "bilinear".
    """

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    image_size: int = 224
    crop_fraction: float = 0.875
    interpolation: str = "bilinear"
