"""Two mixtures of two batches: one blends whole pictures, one pastes a box; and their labels.

Mixup (Zhang et al. 2018, https://arxiv.org/abs/1710.09412) and CutMix (Yun et al. 2019,
https://arxiv.org/abs/1905.04899), paired as in GLMC (Du et al. 2023,
https://arxiv.org/abs/2305.08661, section 3). What is random is drawn from torch's default
generator on the CPU, so that no step waits for the device; what is large stays on the device.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Box:
    """Rows top..bottom-1 and columns left..right-1 of a picture; may be empty."""

    top: int
    bottom: int
    left: int
    right: int

    def local_batches(self, height: int, width: int) -> float:
        """How much of a picture of H x W pixels the box covers, in [0, 1]."""
        return (self.bottom - self.top) * (self.right - self.left) / (height * width)


@dataclass(frozen=True)
class Mixture:
    """One view of mixed pictures.

    Attributes:
        images: [B, ch, H, W].
        labels: soft labels [B, C], two classes at most in a row, which sums to 1.
    """

    images: Tensor
    labels: Tensor


def draw_share(beta: float) -> float:
    """The share lambda of the first picture, from Beta(beta, beta).

    Args:
        beta: > 0; 1 = uniform, larger = closer to 1/2, smaller = closer to 0 or 1.

    Returns:
        lambda in [0, 1].
    """
    shape = torch.tensor(beta, dtype=torch.float64)
    return float(torch.distributions.Beta(shape, shape, validate_args=False).sample())


def box_around(row: int, column: int, height: int, width: int, share: float) -> Box:
    """The box that leaves about `share` of a picture, centred on a pixel and clipped at the border.

    Its sides are ceil(H sqrt(1 - lambda)) and ceil(W sqrt(1 - lambda)) before clipping, with
    half of them, rounded down, before the centre.

    Args:
        row: centre, 0..H-1.
        column: centre, 0..W-1.
        height: H in pixels.
        width: W in pixels.
        share: lambda in [0, 1]; 1 gives an empty box.

    Example:
        >>> box_around(16, 1, 32, 32, 0.75)  # 16 x 16, half of it beyond the left border
        Box(top=8, bottom=24, left=0, right=9)
    """
    side = math.sqrt(1 - share)
    top, bottom = _interval(row, math.ceil(height * side), height)
    left, right = _interval(column, math.ceil(width * side), width)
    return Box(top, bottom, left, right)


def _interval(centre: int, length: int, limit: int) -> tuple[int, int]:
    """`length` pixels around `centre`, as far as they lie in 0..limit."""
    begin = centre - length // 2
    return max(begin, 0), min(begin + length, limit)


def draw_box(height: int, width: int, share: float) -> Box:
    """`box_around` a pixel that is uniform in the picture."""
    row, column = torch.randint(height, ()), torch.randint(width, ())
    return box_around(int(row), int(column), height, width, share)


def blend(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Gives lambda first + (1 - lambda) second, any equal shapes; exactly `first` for lambda = 1.

    Example:
        >>> blend(torch.tensor([1.0]), torch.tensor([3.0]), 0.75)
        tensor([1.5000])
    """
    return torch.lerp(second, first, share)


def paste(first: Tensor, second: Tensor, box: Box) -> Tensor:
    """Pictures `first` [B, ch, H, W] with the box taken from `second`; `first` stays as it is."""
    pasted = first.clone()
    inside = (..., slice(box.top, box.bottom), slice(box.left, box.right))
    pasted[inside] = second[inside]
    return pasted


def soft_labels(first: Tensor, second: Tensor, share: float, n_classes: int) -> Tensor:
    """Mixed labels: lambda on the first class, 1 - lambda on the second, 1 where they agree.

    Args:
        first: classes [B], 0..C-1.
        second: classes [B], 0..C-1.
        share: lambda in [0, 1].
        n_classes: C.

    Returns:
        float32 [B, C], rows sum to 1.

    Example:
        >>> soft_labels(torch.tensor([0, 1]), torch.tensor([2, 1]), 0.75, 3)
        tensor([[0.7500, 0.0000, 0.2500],
                [0.0000, 1.0000, 0.0000]])
    """
    one_hot = torch.nn.functional.one_hot
    return blend(one_hot(first, n_classes).float(), one_hot(second, n_classes).float(), share)


def mix_views(
    examples: Tensor, labels: Tensor, n_classes: int, beta: float, *, adjust_lambda: bool
) -> tuple[Mixture, Mixture]:
    """Mixes the two halves of a batch twice: blended in the first view, a box in the second.

    Row i is mixed with row B + i. lambda ~ Beta(beta, beta) is one number for the batch and for
    both views.

    Args:
        examples: two views of 2 B pictures [2 B, 2, ch, H, W].
        labels: their classes [2 B], 0..C-1.
        n_classes: C.
        beta: > 0, of the distribution of lambda.
        adjust_lambda: whether the labels of the second view follow the area that is left after
            clipping the box, instead of lambda. On 32 x 32 pictures that area is larger than
            lambda by 0.168 in the mean.

    Returns:
        The global and the local mixture, B rows each.

    Raises:
        ValueError: the batch does not have this form.
    """
    _check_form(examples, labels)
    first, second = examples.chunk(2)
    classes = labels.chunk(2)
    height, width = examples.shape[-2:]
    share = draw_share(beta)
    box = draw_box(height, width, share)
    left = 1 - box.local_batches(height, width) if adjust_lambda else share
    return (
        Mixture(blend(first[:, 0], second[:, 0], share), soft_labels(*classes, share, n_classes)),
        Mixture(paste(first[:, 1], second[:, 1], box), soft_labels(*classes, left, n_classes)),
    )


def _check_form(examples: Tensor, labels: Tensor) -> None:
    if examples.ndim != 5 or examples.shape[1] != 2:
        raise ValueError(
            "Mixing needs two views of every picture, examples [2B, 2, channels, H, W], got "
            f"{list(examples.shape)}; add dataset.params.views=2 to the command, and take a data "
            "set of pictures."
        )
    if len(examples) % 2 or len(labels) != len(examples):
        raise ValueError(
            f"Mixing needs a batch of two equal halves, got {len(examples)} rows; add "
            "sampler=paired to the command, and let the number of processes divide "
            "sampler.batch_size."
        )
