"""AutoAugment's policies for CIFAR10 on a whole batch, drawn independently per image.

Cubuk et al. 2019, https://arxiv.org/abs/1805.09501, table 7, as implemented in torchvision.
"""

import functools
from typing import Any

import torch
from torch import Tensor

FILL = 128.0  # grey value of the pixels that rotation, shear and translation leave empty
N_BINS = 10  # number of magnitudes of an operation


@functools.cache
def policy_table(height: int, width: int) -> tuple[list[tuple[str, float]], Tensor, Tensor]:
    """The policies as indices into a list of distinct operations.

    Args:
        height: of the images in pixels; translations depend on it.
        width: of the images in pixels.

    Returns:
        Operations (name, magnitude); their indices int64 [25, 2, 2] by policy, step and sign (0 =
        negative, for operations that have signs); and probabilities float [25, 2] by policy, step.
    """
    import vmf_embeddings.torchvision_compat  # noqa: F401, I001
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    source = AutoAugment(AutoAugmentPolicy.CIFAR10)
    space = source._augmentation_space(N_BINS, (height, width))
    operations: list[tuple[str, float]] = []
    index = torch.empty(len(source.policies), 2, 2, dtype=torch.int64)
    chances = torch.empty(len(source.policies), 2)
    for i, policy in enumerate(source.policies):
        for step, (name, chance, level) in enumerate(policy):
            magnitudes, signed = space[name]
            magnitude = 0.0 if level is None else float(magnitudes[level])
            chances[i, step] = chance
            for sign in (0, 1):
                operation = (name, -magnitude if signed and sign == 0 else magnitude)
                if operation not in operations:
                    operations.append(operation)
                index[i, step, sign] = operations.index(operation)
    return operations, index, chances


def random_policies(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Applies a randomly drawn policy of two operations to every image.

    The distribution is that of torchvision's `AutoAugment(AutoAugmentPolicy.CIFAR10, fill=128)` per
    image. On the CPU images with the same operation are processed together, elsewhere all at once
    (`autoaugment_batched`).

    Args:
        images: uint8 [B, 1 or 3, H, W].
        generator: on the device of `images`; torch's default one if None.

    Returns:
        A new tensor, same shape and dtype.
    """
    n, _, height, width = images.shape
    device = images.device
    _, index, chances = policy_table(height, width)
    policy = torch.randint(len(index), (n,), generator=generator, device=device)
    drawn = torch.rand((n, 2), generator=generator, device=device)
    sign = torch.randint(2, (n, 2), generator=generator, device=device)
    if device.type != "cpu":
        from vmf_embeddings.datasets.autoaugment_batched import apply_at_once

        return apply_at_once(images, policy, drawn, sign)
    return apply_policies(images, policy, drawn, sign)


def apply_policies(images: Tensor, policy: Tensor, drawn: Tensor, sign: Tensor) -> Tensor:
    """Applies the operations that are selected by given random numbers.

    Args:
        images: uint8 [B, 1 or 3, H, W].
        policy: int64 [B] in 0..24.
        drawn: float [B, 2] in [0, 1): a step is applied where this is at most its probability.
        sign: int64 [B, 2], 0 = negative.

    Returns:
        A new tensor, same shape and dtype.
    """
    operations, index, chances = policy_table(*images.shape[2:])
    index, chances = index.to(images.device), chances.to(images.device)
    images = images.clone()
    for step in (0, 1):
        is_applied = drawn[:, step] <= chances[policy, step]
        operation = index[policy, step, sign[:, step]].masked_fill(~is_applied, -1)
        which, counts = operation.sort()[0].unique_consecutive(return_counts=True)
        groups = operation.argsort().split(counts.tolist())
        for number, members in zip(which.tolist(), groups, strict=True):
            if number >= 0:
                images[members] = changed(images[members], *operations[number])
    return images


def changed(images: Tensor, name: str, magnitude: float, fill: float = FILL) -> Any:
    """Images [B, 1 or 3, H, W] changed by one operation of torchvision.

    Args:
        images: uint8; also floating point where pixels only move.
        name: of the operation.
        magnitude: its strength; of no meaning to some.
        fill: value of pixels that are left empty.
    """
    # torchvision's public class draws and applies in one call; this function only applies
    from torchvision.transforms.autoaugment import InterpolationMode, _apply_op

    fills = [fill] * images.shape[1]
    return _apply_op(images, name, magnitude, interpolation=InterpolationMode.NEAREST, fill=fills)
