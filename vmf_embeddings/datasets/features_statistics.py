"""Mean and standard deviation of the components of a split's vectors."""

import torch
from torch import Tensor

from vmf_embeddings.datasets.base import Split

_BLOCK = 2**19  # numbers that are in memory at once, several times over


def column_statistics(split: Split) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each component, in float64, a block of vectors at a time.

    Blocks are merged as by Chan, Golub, LeVeque 1983, https://doi.org/10.1080/00031305.1983.10483115,
    so that no large numbers are subtracted from each other.

    Args:
        split: items are vectors [F]; held in memory.

    Returns:
        mean and std, float64 [F]. The variance is divided by N; the std of a component that is the
        same everywhere is 1, so that it can be divided by.
    """
    n, mean, squares = 0, torch.zeros(()), torch.zeros(())
    step = max(1, _BLOCK // len(split.example(0)))
    for indices in torch.arange(len(split)).split(step):
        block = split.batch(indices)["examples"].cpu().double()
        own = block.mean(0)
        total = n + len(block)
        shift = own - mean
        squares = squares + (block - own).square().sum(0)
        squares = squares + shift.square() * (n * len(block) / total)
        mean = mean + shift * (len(block) / total)
        n = total
    std = (squares / n).sqrt()
    # rounding leaves a component that is the same everywhere some 1e-16 of its size
    constant = std <= 1e-12 * mean.abs()
    return mean, torch.where(constant, 1.0, std)
