"""AutoAugment's policies for CIFAR10 on a whole batch, drawn independently per image.

Cubuk et al. 2019, https://arxiv.org/abs/1805.09501, table 7, as implemented in torchvision.
"""

import torch
from torch import Tensor

from vmf_embeddings.datasets.autoaugment_batched import apply_at_once
from vmf_embeddings.datasets.autoaugment_operations import changed, policy_table


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
