"""AutoAugment's operations on all images of a batch at once, without waiting for the device.

`autoaugment` collects the images of each operation, whose number the host must know: on a GPU over
150 waits per batch. Here every image passes through everything that an operation may do, with its
own tables: pixels move, values are replaced, and the result is blended with another image.
torchvision itself makes the tables, so that the pixels are its own. The two steps of a policy stay
apart: pixels that move twice to the nearest pixel are not those that move once.
"""

import functools
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vmf_embeddings.datasets.autoaugment_operations import FILL, changed, policy_table

MOVES = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
REPLACES = ("Brightness", "Posterize", "Solarize", "Invert")
# operations that depend on all pixels of an image; the others are in tables
OF_TABLES, EQUALIZE, AUTOCONTRAST, CONTRAST, COLOR, SHARPNESS = range(6)
KINDS = {
    "Equalize": EQUALIZE,
    "AutoContrast": AUTOCONTRAST,
    "Contrast": CONTRAST,
    "Color": COLOR,
    "Sharpness": SHARPNESS,
}
GREY = (0.2989, 0.587, 0.114)  # of red, green and blue, as in torchvision


class Tables(NamedTuple):
    """K operations and, as row K, none; P = H W pixels.

    Attributes:
        index: operation by policy, step and sign, see `policy_table`.
        chances: probability by policy and step.
        source: pixel whose value a pixel takes, int64 [K + 1, P].
        is_empty: whether it takes none, bool [K + 1, P].
        values: what each value becomes, uint8 [K + 1, 256].
        kind: what else is done, int64 [K + 1].
        ratios: weights of the image and of the one it is blended with, float32 [2, K + 1].
        blur: weights of a pixel and its neighbours for sharpness [1, 1, 3, 3].
        levels: 0 to 255, float32 [256].
    """

    index: Tensor
    chances: Tensor
    source: Tensor
    is_empty: Tensor
    values: Tensor
    kind: Tensor
    ratios: Tensor
    blur: Tensor
    levels: Tensor


@functools.cache
def tables(channels: int, height: int, width: int, device: torch.device) -> Tables:
    """The tables for images of one shape, on a device.

    Args:
        channels: 1 or 3.
        height: H in pixels.
        width: W in pixels.
        device: where the images are.
    """
    operations, index, chances = policy_table(height, width)
    pixels = torch.arange(1.0, height * width + 1).view(1, 1, height, width)
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    sources, values, kinds, ratios = [], [], [], []
    for name, magnitude in [*operations, ("Identity", 0.0)]:
        moved = changed(pixels, name, magnitude, fill=0.0) if name in MOVES else pixels
        replaced = changed(levels, name, magnitude) if name in REPLACES else levels
        sources.append(moved.long().flatten() - 1)  # -1 where a pixel is left empty
        values.append(replaced.flatten())
        kinds.append(_kind(name, channels, min(height, width)))
        ratios.append((1.0 + magnitude, 1.0 - (1.0 + magnitude)))
    source = torch.stack(sources)
    blur = torch.ones(1, 1, 3, 3)
    blur[0, 0, 1, 1] = 5.0
    made = Tables(
        index=index,
        chances=chances,
        source=source.clamp_min(0),
        is_empty=source < 0,
        values=torch.stack(values),
        kind=torch.tensor(kinds),
        ratios=torch.tensor(ratios).T.contiguous(),
        blur=blur / blur.sum(),
        levels=torch.arange(256.0),
    )
    return Tables(*(table.to(device) for table in made))


def _kind(name: str, channels: int, side: int) -> int:
    """What an operation does besides its tables; grey images have no colour, lines no sharpness."""
    if (name == "Color" and channels == 1) or (name == "Sharpness" and side <= 2):
        return OF_TABLES
    return KINDS.get(name, OF_TABLES)


def apply_at_once(images: Tensor, policy: Tensor, drawn: Tensor, sign: Tensor) -> Tensor:
    """`autoaugment.apply_policies`, with the same arguments and the same pixels."""
    known = tables(*images.shape[1:], images.device)
    for step in (0, 1):
        is_applied = drawn[:, step] <= known.chances[:, step][policy]
        operation = known.index[:, step][policy, sign[:, step]].masked_fill(~is_applied, -1)
        images = _applied(images, operation, known)
    return images


def _applied(images: Tensor, operation: Tensor, known: Tables) -> Tensor:
    """Images uint8 [B, C, H, W], each changed by its operation [B]; -1 = none, the last row."""
    kind = known.kind[operation][:, None, None]
    flat = images.flatten(2)
    moved = flat.gather(2, known.source[operation][:, None].expand_as(flat))
    moved.masked_fill_(known.is_empty[operation][:, None], int(FILL))
    places = moved.long()
    values = torch.where(kind == EQUALIZE, _equalized(places), known.values[operation][:, None])
    values = torch.where(kind == AUTOCONTRAST, _stretched(moved, known.levels), values)
    replaced = values.gather(2, places).view_as(images)
    blended = _blended(images, kind[..., None], known.ratios[:, operation, None, None, None], known)
    return torch.where(kind[..., None] >= CONTRAST, blended, replaced)


def _equalized(places: Tensor) -> Tensor:
    """New values uint8 [B, C, 256] of equalised histograms, from values int64 [B, C, P]."""
    ones = torch.ones_like(places)
    counts = places.new_zeros(*places.shape[:2], 256).scatter_add_(2, places, ones)
    # pixels but those of the largest value, by 255 levels
    largest = counts.gather(2, places.amax(2, keepdim=True))
    step = (places.shape[2] - largest) // 255
    level = (counts.cumsum(2) + step // 2) // step.clamp_min(1)
    level = functional.pad(level[..., :-1], (1, 0)).clamp_(0, 255)
    same = torch.arange(256, device=places.device)
    return torch.where(step == 0, same, level).to(torch.uint8)


def _stretched(flat: Tensor, levels: Tensor) -> Tensor:
    """New values uint8 [B, C, 256] with the largest contrast, from values uint8 [B, C, P]."""
    lowest = flat.amin(2, keepdim=True).to(levels.dtype)
    scale = 255 / (flat.amax(2, keepdim=True).to(levels.dtype) - lowest)
    is_flat = scale.isinf()  # one value: it stays
    lowest, scale = lowest.masked_fill(is_flat, 0), scale.masked_fill(is_flat, 1)
    return ((levels - lowest) * scale).clamp_(0, 255).to(torch.uint8)


def _blended(images: Tensor, kind: Tensor, ratios: Tensor, known: Tables) -> Tensor:
    """Images blended with their mean grey, their grey values, or themselves blurred."""
    grey = images
    if images.shape[1] == 3:
        red, green, blue = images.unbind(1)
        grey = (GREY[0] * red + GREY[1] * green + GREY[2] * blue).to(torch.uint8)[:, None]
    mean = grey.float().mean(dim=(-3, -2, -1), keepdim=True)
    other = torch.where(kind == CONTRAST, mean, grey)
    if min(images.shape[2:]) > 2:
        blur = known.blur.expand(images.shape[1], 1, 3, 3)
        inside = functional.conv2d(images.float(), blur, groups=images.shape[1]).round_()
        blurred = images.float()
        blurred[..., 1:-1, 1:-1] = inside
        other = torch.where(kind == SHARPNESS, blurred, other)
    return (ratios[0] * images + ratios[1] * other).clamp_(0, 255).to(torch.uint8)
