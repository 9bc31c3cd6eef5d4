"""MixUp and CutMix of the two halves of a batch, with soft labels.

Mixup (Zhang et al. 2018, https://arxiv.org/abs/1710.09412) and CutMix (Yun et al. 2019,
https://arxiv.org/abs/1905.04899), paired as in GLMC (Du et al. 2023,
https://arxiv.org/abs/2305.08661, section 3). Random numbers come from torch's
global CPU generator, so that the device is not synchronised; images stay on the device.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Box:
    """Rows top..bottom-1 and columns left..right-1 of an image; may be empty."""

    top: int
    bottom: int
    left: int
    right: int

    def area_fraction(self, height: int, width: int) -> float:
        """Fraction of an image of H x W pixels that the box covers, in [0, 1]."""
        return (self.bottom - self.top) * (self.right - self.left) / (height * width)


@dataclass(frozen=True)
class Mixture:
    """One view of mixed images.

    Attributes:
        images: [B, ch, H, W].
        labels: soft labels [B, C], rows have at most two classes and sum to 1.
    """

    images: Tensor
    labels: Tensor


def draw_lambda(beta: float) -> float:
    """Draws lambda, the weight of the first image, from Beta(beta, beta).

    Args:
        beta: > 0; 1 = uniform, larger = closer to 1/2, smaller = closer to 0 or 1.

    Returns:
        lambda in [0, 1].
    """
    shape = torch.tensor(beta, dtype=torch.float64)
    return float(torch.distributions.Beta(shape, shape, validate_args=False).sample())


def box_around(row: int, column: int, height: int, width: int, lam: float) -> Box:
    """Box that covers about 1 - lambda of an image, centred on a pixel and clipped to the image.

    Before clipping its sides are ceil(H sqrt(1 - lambda)) and ceil(W sqrt(1 - lambda)); it starts
    half a side, rounded down, before the centre.

    Args:
        row: centre, 0..H-1.
        column: centre, 0..W-1.
        height: H in pixels.
        width: W in pixels.
        lam: lambda in [0, 1]; 1 gives an empty box.

    Example:
        >>> box_around(16, 1, 32, 32, 0.75)  # 16 x 16, half of it beyond the left border
        Box(top=8, bottom=24, left=0, right=9)
    """
    side = math.sqrt(1 - lam)
    top, bottom = _interval(row, math.ceil(height * side), height)
    left, right = _interval(column, math.ceil(width * side), width)
    return Box(top, bottom, left, right)


def _interval(centre: int, length: int, limit: int) -> tuple[int, int]:
    """Begin and end of `length` pixels around `centre`, clipped to 0..limit."""
    begin = centre - length // 2
    return max(begin, 0), min(begin + length, limit)


def draw_box(height: int, width: int, lam: float) -> Box:
    """`box_around` a uniformly drawn pixel of the image."""
    row, column = torch.randint(height, ()), torch.randint(width, ())
    return box_around(int(row), int(column), height, width, lam)


def blend(first: Tensor, second: Tensor, lam: float) -> Tensor:
    """Computes lambda first + (1 - lambda) second, of equal shapes; exactly `first` for lambda 1.

    Example:
        >>> blend(torch.tensor([1.0]), torch.tensor([3.0]), 0.75)
        tensor([1.5000])
    """
    return torch.lerp(second, first, lam)


def paste(first: Tensor, second: Tensor, box: Box) -> Tensor:
    """Copy of the images `first` [B, ch, H, W] with the box taken from `second`."""
    pasted = first.clone()
    inside = (..., slice(box.top, box.bottom), slice(box.left, box.right))
    pasted[inside] = second[inside]
    return pasted


def mixed_labels(first: Tensor, second: Tensor, lam: float, n_classes: int) -> Tensor:
    """Soft labels: lambda for the first class, 1 - lambda for the second, 1 if they agree.

    Args:
        first: classes [B], 0..C-1.
        second: classes [B], 0..C-1.
        lam: lambda in [0, 1].
        n_classes: C.

    Returns:
        float32 [B, C], rows sum to 1.

    Example:
        >>> mixed_labels(torch.tensor([0, 1]), torch.tensor([2, 1]), 0.75, 3)
        tensor([[0.7500, 0.0000, 0.2500],
                [0.0000, 1.0000, 0.0000]])
    """
    one_hot = torch.nn.functional.one_hot
    return blend(one_hot(first, n_classes).float(), one_hot(second, n_classes).float(), lam)


def mix_views(
    examples: Tensor, labels: Tensor, n_classes: int, beta: float, *, adjust_lambda: bool
) -> tuple[Mixture, Mixture]:
    """Mixes the two halves of a batch: MixUp of their first views, CutMix of their second views.

    Row i is mixed with row B + i. One lambda ~ Beta(beta, beta) is used for the whole batch and
    both views.

    Args:
        examples: two views of 2 B images [2 B, 2, ch, H, W].
        labels: their classes [2 B], 0..C-1.
        n_classes: C.
        beta: parameter of the distribution of lambda, > 0.
        adjust_lambda: whether the labels of the second view use the area outside the clipped box
            instead of lambda. For 32 x 32 images that area is larger than lambda by 0.168 on
            average.

    Returns:
        The global and the local mixture, B rows each.

    Raises:
        ValueError: the batch does not have this form.
    """
    _check_form(examples, labels)
    first, second = examples.chunk(2)
    classes = labels.chunk(2)
    height, width = examples.shape[-2:]
    lam = draw_lambda(beta)
    box = draw_box(height, width, lam)
    lam_box = 1 - box.area_fraction(height, width) if adjust_lambda else lam
    return (
        Mixture(blend(first[:, 0], second[:, 0], lam), mixed_labels(*classes, lam, n_classes)),
        Mixture(paste(first[:, 1], second[:, 1], box), mixed_labels(*classes, lam_box, n_classes)),
    )


def _check_form(examples: Tensor, labels: Tensor) -> None:
    if examples.ndim != 5 or examples.shape[1] != 2:
        raise ValueError(
            "Mixing needs two views of every image, examples [2B, 2, channels, H, W], got "
            f"{list(examples.shape)}; add dataset.params.views=2 to the command, and take a data "
            "set of images."
        )
    if len(examples) % 2 or len(labels) != len(examples):
        raise ValueError(
            f"Mixing needs a batch of two equal halves, got {len(examples)} rows; add "
            "sampler=paired to the command, and let the number of processes divide "
            "sampler.batch_size."
        )
