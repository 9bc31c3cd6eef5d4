"""Random crop, flip and occlusion of a whole batch at once, drawn independently per image."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings.datasets.autoaugment import random_policies


def random_crop_flip(
    images: Tensor,
    pad: int,
    generator: torch.Generator | None = None,
    *,
    border: str = "reflect",
    flip: bool = True,
) -> Tensor:
    """Shifts every image by up to `pad` pixels, and flips half of them horizontally.

    The distribution is that of `RandomCrop(size, padding=pad, padding_mode=…)` followed by
    `RandomHorizontalFlip()` per image: the (2 pad + 1)^2 offsets are equally likely. It is computed
    by one gather, without a padded copy.

    Args:
        images: [B, channels, H, W], any dtype, pad < min(H, W).
        pad: pixels added at each side, >= 0.
        generator: on the device of `images`; torch's default one if None.
        border: how the image is padded: by its own reflection ("reflect") or by 0 ("black").
        flip: whether to flip.

    Returns:
        Same shape and dtype.
    """
    n, channels, height, width = images.shape
    device = images.device

    def offsets() -> Tensor:
        return torch.randint(0, 2 * pad + 1, (n, 1), generator=generator, device=device) - pad

    rows = torch.arange(height, device=device) + offsets()
    columns = torch.arange(width, device=device) + offsets()
    if flip:
        half = torch.randint(0, 2, (n, 1), generator=generator, device=device, dtype=torch.bool)
        columns = torch.where(half, columns.flip(1), columns)
    source = _reflect(rows, height)[:, :, None] * width + _reflect(columns, width)[:, None, :]
    source = source.view(n, 1, height * width).expand(-1, channels, -1)
    moved = images.reshape(n, channels, height * width).gather(2, source)
    moved = moved.view(n, channels, height, width)
    if border == "reflect":
        return moved
    outside = _outside(rows, height)[:, :, None] | _outside(columns, width)[:, None, :]
    return moved.masked_fill_(outside[:, None], 0)


def random_cutout(images: Tensor, size: int, generator: torch.Generator | None = None) -> Tensor:
    """Sets a square of every image to 0; its centre may be any pixel, so it is cut at the border.

    Cutout of DeVries & Taylor 2017 (https://arxiv.org/abs/1708.04552), with one square.

    Args:
        images: [B, channels, H, W], any dtype.
        size: side of the square in pixels, even.
        generator: on the device of `images`; torch's default one if None.

    Returns:
        A copy.
    """
    n, _, height, width = images.shape
    device = images.device

    def hidden(length: int) -> Tensor:
        centre = torch.randint(0, length, (n, 1), generator=generator, device=device)
        distance = torch.arange(length, device=device) - centre
        return (distance >= -(size // 2)) & (distance < size // 2)

    square = hidden(height)[:, :, None] & hidden(width)[:, None, :]
    return images.masked_fill(square[:, None], 0)


def random_occlusion(images: Tensor, size: int, generator: torch.Generator | None = None) -> Tensor:
    """Sets a square inside every image to 0, all positions equally likely.

    Args:
        images: float [B, channels, H, W], contiguous; changed in place, because a copy would take
            longer than writing the squares.
        size: side of the square in pixels, <= min(H, W).
        generator: on the device of `images`; torch's default one if None.

    Returns:
        The same tensor.
    """
    n, channels, height, width = images.shape
    device = images.device

    def inside(length: int) -> Tensor:
        start = torch.randint(0, length - size + 1, (n, 1), generator=generator, device=device)
        return start + torch.arange(size, device=device)

    square = inside(height)[:, :, None] * width + inside(width)[:, None, :]
    positions = square.view(n, 1, size * size).expand(-1, channels, -1)
    images.view(n, channels, height * width).scatter_(2, positions, 0.0)
    return images


@dataclass(frozen=True)
class Augmentation:
    """Training augmentation of small images in memory.

    Attributes:
        pad: largest shift in pixels, >= 0.
        border: how shifted images are padded, see `random_crop_flip`.
        flip: whether half of the images are flipped horizontally.
        autoaugment: whether each image gets one of AutoAugment's 25 policies for CIFAR10.
        cutout: side in pixels of a square that is set to black before normalising; 0 = none.
        occlusion: side in pixels of a square that is set to the mean colour after normalising; 0 =
            none.
    """

    pad: int = 4
    border: str = "reflect"
    flip: bool = True
    autoaugment: bool = False
    cutout: int = 0
    occlusion: int = 0

    def before_normalising(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """Crop, flip, AutoAugment and Cutout of uint8 [B, channels, H, W]."""
        images = random_crop_flip(images, self.pad, generator, border=self.border, flip=self.flip)
        if self.autoaugment:
            images = random_policies(images, generator)
        return random_cutout(images, self.cutout, generator) if self.cutout else images

    def after_normalising(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """Occlusion of float [B, channels, H, W] in place; 0 is the mean colour here."""
        return random_occlusion(images, self.occlusion, generator) if self.occlusion else images


AUGMENTATIONS: dict[str, Augmentation | None] = {
    "none": None,
    "shift": Augmentation(pad=2, border="black", flip=False),
    "crop_flip": Augmentation(border="black"),
    "balms": Augmentation(border="black", autoaugment=True, cutout=16),
    "cifar": Augmentation(occlusion=8),
}


def augmentation_named(name: str) -> Augmentation | None:
    """The augmentation of that name, or a ValueError that lists the names."""
    if name not in AUGMENTATIONS:
        known = ", ".join(AUGMENTATIONS)
        raise ValueError(f"unknown dataset.params.augment={name}. Known: {known}.")
    return AUGMENTATIONS[name]


def _outside(index: Tensor, length: int) -> Tensor:
    return (index < 0) | (index >= length)


def _reflect(index: Tensor, length: int) -> Tensor:
    """Reflects indices in 1-length..2(length-1) into 0..length-1; border pixels not repeated."""
    return (length - 1) - ((length - 1) - index.abs()).abs()
