"""Random crop, flip and occlusion of a whole batch at once, each picture with its own draw."""

from dataclasses import dataclass

import torch
from torch import Tensor


def random_crop_flip(images: Tensor, pad: int, generator: torch.Generator | None = None) -> Tensor:
    """Shift every picture by up to `pad` pixels with reflected borders, and mirror half of them.

    Equal in law to `RandomCrop(size, padding=pad, padding_mode="reflect")` and
    `RandomHorizontalFlip()` per picture: the (2 pad + 1)^2 offsets are equally likely. One gather
    does all of it, without a padded copy.

    Args:
        images: [B, channels, H, W], any dtype, pad < min(H, W).
        pad: pixels added at each side, >= 0.
        generator: on the device of `images`; torch's default one if None.

    Returns:
        Same shape and dtype.
    """
    n, channels, height, width = images.shape
    device = images.device

    def offsets() -> Tensor:
        return torch.randint(0, 2 * pad + 1, (n, 1), generator=generator, device=device) - pad

    rows = _reflect(torch.arange(height, device=device) + offsets(), height)
    columns = _reflect(torch.arange(width, device=device) + offsets(), width)
    mirrored = torch.randint(0, 2, (n, 1), generator=generator, device=device, dtype=torch.bool)
    columns = torch.where(mirrored, columns.flip(1), columns)
    source = (rows[:, :, None] * width + columns[:, None, :]).view(n, 1, height * width)
    pixels = images.reshape(n, channels, height * width)
    return pixels.gather(2, source.expand(-1, channels, -1)).view(n, channels, height, width)


def random_occlusion(images: Tensor, size: int, generator: torch.Generator | None = None) -> Tensor:
    """Set a square of every picture to 0, all positions inside the picture equally likely.

    Args:
        images: float [B, channels, H, W], contiguous; changed in place: a copy would cost more
            than the squares.
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
    places = square.view(n, 1, size * size).expand(-1, channels, -1)
    images.view(n, channels, height * width).scatter_(2, places, 0.0)
    return images


@dataclass(frozen=True)
class CropFlipOcclude:
    """Training augmentation of small colour pictures: shift, mirror, (normalise,) occlude."""

    pad: int = 4
    occlusion: int = 8

    def before_normalising(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """Shifted and mirrored [B, channels, H, W]."""
        return random_crop_flip(images, self.pad, generator)

    def after_normalising(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """Occluded in place [B, channels, H, W]; the value 0 is the mean colour here."""
        return random_occlusion(images, self.occlusion, generator)


def _reflect(index: Tensor, length: int) -> Tensor:
    """Fold indices in 1-length..2(length-1) into 0..length-1, the border pixel not repeated."""
    return (length - 1) - ((length - 1) - index.abs()).abs()
