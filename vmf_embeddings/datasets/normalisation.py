"""Normalisation of images: means, standard deviations and the order of the channels."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Normalisation:
    """The normalisation that a network was trained with; `mean` and `std` are of RGB in [0, 1].

    Attributes:
        mean: per channel, subtracted.
        std: per channel, divides.
        bgr: whether the channels are reversed afterwards.
    """

    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    bgr: bool = False


NORMALISATIONS = {
    "imagenet": Normalisation(),
    "clip": Normalisation(CLIP_MEAN, CLIP_STD),
    # 0..255 minus the mean, in the order BGR: for networks converted from Caffe
    "bninception": Normalisation((128 / 255, 117 / 255, 104 / 255), (1 / 255,) * 3, bgr=True),
}


def normalisation_named(name: str) -> Normalisation:
    """The normalisation of that name, or a ValueError that lists the names."""
    if name not in NORMALISATIONS:
        known = ", ".join(NORMALISATIONS)
        raise ValueError(
            f"unknown dataset.params.normalisation={name}. Known: {known}, data, auto."
        )
    return NORMALISATIONS[name]


def chosen_normalisation(
    name: str, mean: Sequence[float] | None, std: Sequence[float] | None
) -> Normalisation:
    """The normalisation of `dataset.params.normalisation`.

    Args:
        name: "data" = by `mean` and `std`; or a key of `NORMALISATIONS`.
        mean: per channel, of values in [0, 1].
        std: per channel, > 0.

    Raises:
        ValueError: the name is unknown, or "auto", which a command replaces by the numbers of the
            network; or mean and std are not three numbers each.
    """
    if name == "auto":
        raise ValueError(
            "dataset.params.normalisation=auto is that of a network, which the command `train` "
            "looks up; without one say dataset.params.normalisation=data with mean and std, or "
            f"one of {', '.join(NORMALISATIONS)}"
        )
    if name != "data":
        return normalisation_named(name)
    if mean is None or std is None:
        raise ValueError(
            "dataset.params.normalisation=data needs dataset.params.mean and dataset.params.std"
        )
    check_normalisation(mean, std)
    return Normalisation(mean, std)


@dataclass(frozen=True)
class ReverseChannels:
    """RGB [3, H, W] -> BGR, or back."""

    def __call__(self, image: Tensor) -> Tensor:
        """A copy with the order of the channels reversed, same shape."""
        return image.flip(0)


def scale_and_shift(mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Normalisation of 8-bit values as one multiplication and one addition.

    (x / 255 - mean) / std = x * scale + shift with scale = 1 / (255 std), shift = -mean / std.

    Args:
        mean: per channel, of values in [0, 1].
        std: per channel, > 0.

    Returns:
        scale and shift, each float32 [1, channels, 1, 1].
    """
    scale = (1.0 / (255.0 * torch.tensor(std))).view(1, -1, 1, 1)
    return scale, (-torch.tensor(mean) / torch.tensor(std)).view(1, -1, 1, 1)


def is_identity(mean: Sequence[float], std: Sequence[float]) -> bool:
    """Whether all means are 0 and all standard deviations 1, so that values are only scaled."""
    return not any(mean) and all(value == 1.0 for value in std)


def normalise(images: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """uint8 [B, channels, H, W] -> float32 x * scale + shift, same shape, see `scale_and_shift`."""
    return images.float().mul_(scale).add_(shift)


def check_normalisation(mean: Sequence[float], std: Sequence[float]) -> None:
    """Refuse means and standard deviations that are not three numbers, the latter positive."""
    if len(mean) != 3 or len(std) != 3 or not (torch.tensor(list(std)) > 0).all():
        raise ValueError(
            "dataset.params.mean and dataset.params.std need three numbers each, std > 0; "
            f"got mean={list(mean)}, std={list(std)}"
        )
