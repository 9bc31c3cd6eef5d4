"""The operations of AutoAugment's policies for CIFAR10, and torchvision's code for each.

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
