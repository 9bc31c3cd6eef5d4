"""What networks expect of their pictures: means, deviations and the order of the channels."""

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
    """What a network expects of its pictures; `mean` and `std` are of RGB values in [0, 1].

    Attributes:
        mean: per channel, subtracted.
        std: per channel, divides.
        bgr: whether the channels are turned round afterwards.
    """

    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    bgr: bool = False


NORMALISATIONS = {
    "imagenet": Normalisation(),
    "clip": Normalisation(CLIP_MEAN, CLIP_STD),
    # 0..255 minus the mean, blue first: what nets converted from Caffe expect
    "bninception": Normalisation((128 / 255, 117 / 255, 104 / 255), (1 / 255,) * 3, bgr=True),
}


def normalisation_named(name: str) -> Normalisation:
    """The normalisation of that name, or a ValueError that lists the names."""
    if name not in NORMALISATIONS:
        known = ", ".join(NORMALISATIONS)
        raise ValueError(f"unknown dataset.params.normalisation={name}. Known: {known}.")
    return NORMALISATIONS[name]


@dataclass(frozen=True)
class TurnChannels:
    """RGB [3, H, W] -> BGR, or back."""

    def __call__(self, image: Tensor) -> Tensor:
        """The turned copy, same shape."""
        return image.flip(0)


def check_normalisation(mean: Sequence[float], std: Sequence[float]) -> None:
    """Refuse means and standard deviations that are not three numbers, the latter positive."""
    if len(mean) != 3 or len(std) != 3 or not (torch.tensor(list(std)) > 0).all():
        raise ValueError(
            "dataset.params.mean and dataset.params.std need three numbers each, std > 0; "
            f"got mean={list(mean)}, std={list(std)}"
        )
