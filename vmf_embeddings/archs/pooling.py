"""Global pooling of feature maps: their mean, or mean plus maximum."""

from torch import Tensor, nn

POOLS = ("avg", "double")


class MeanPlusMax(nn.Module):
    """Sum of global mean and global maximum.

    The pooling of Kim et al. 2020, "Proxy Anchor Loss", https://arxiv.org/abs/2003.13911, and of
    several papers after it.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [B, F, H, W] -> [B, F, 1, 1]."""
        mean = nn.functional.adaptive_avg_pool2d(maps, 1)
        return mean + nn.functional.adaptive_max_pool2d(maps, 1)


def pool_named(name: str) -> nn.Module:
    """Pooling of maps [B, F, H, W] to [B, F, 1, 1], without parameters.

    Raises:
        ValueError: the name is not one of `POOLS`.
    """
    if name not in POOLS:
        raise ValueError(f"arch.params.pool must be one of {', '.join(POOLS)}, got {name!r}.")
    return nn.AdaptiveAvgPool2d(1) if name == "avg" else MeanPlusMax()
