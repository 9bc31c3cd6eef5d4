"""AutoAugment's policies for CIFAR10 on a whole batch, each picture with its own draw.

Cubuk et al. 2019, https://arxiv.org/abs/1805.09501, table 7, as torchvision knows them.
"""

import functools
from typing import Any

import torch
from torch import Tensor

FILL = 128.0  # grey that rotations, shears and translations bring in
N_BINS = 10  # magnitudes of an operation


@functools.cache
def policy_table(height: int, width: int) -> tuple[list[tuple[str, float]], Tensor, Tensor]:
    """The policies as indices into a list of operations without repetition.

    Args:
        height: of the pictures in pixels; translations depend on it.
        width: likewise.

    Returns:
        Operations (name, magnitude), their index int64 [25, 2, 2] by policy, step and sign (0 =
        negative where an operation has signs), and the probabilities float [25, 2].
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
    """Two operations in a row on every picture, of a policy drawn for it alone.

    Equal in law to torchvision's `AutoAugment(AutoAugmentPolicy.CIFAR10, fill=128)` per picture.
    Pictures that drew the same operation are changed together. On a GPU every step waits once, for
    the sizes of these groups.

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
    return apply_policies(images, policy, drawn, sign)


def apply_policies(images: Tensor, policy: Tensor, drawn: Tensor, sign: Tensor) -> Tensor:
    """The operations that given draws stand for.

    Args:
        images: uint8 [B, 1 or 3, H, W].
        policy: int64 [B] in 0..24.
        drawn: float [B, 2] in [0, 1): a step is taken where this is at most its probability.
        sign: int64 [B, 2], 0 = negative.

    Returns:
        A new tensor, same shape and dtype.
    """
    operations, index, chances = policy_table(*images.shape[2:])
    index, chances = index.to(images.device), chances.to(images.device)
    images = images.clone()
    for step in (0, 1):
        taken = drawn[:, step] <= chances[policy, step]
        operation = index[policy, step, sign[:, step]].masked_fill(~taken, -1)
        which, counts = operation.sort()[0].unique_consecutive(return_counts=True)
        groups = operation.argsort().split(counts.tolist())
        for number, members in zip(which.tolist(), groups, strict=True):
            if number >= 0:
                images[members] = _changed(images[members], *operations[number])
    return images


def _changed(images: Tensor, name: str, magnitude: float) -> Any:
    # torchvision draws and applies in one call; only this inner function takes what was drawn
    from torchvision.transforms.autoaugment import InterpolationMode, _apply_op

    fill = [FILL] * images.shape[1]
    return _apply_op(images, name, magnitude, interpolation=InterpolationMode.NEAREST, fill=fill)
