"""How a confidence falls as images get worse: Spearman's correlation and shares of rows.

Kirchhof et al. 2023, https://arxiv.org/abs/2307.03810, section 4 (correlation of uncertainty and
the share of an image that is cropped). Here larger is better: a confidence that falls with every
level has 1.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_float64
from vmf_embeddings.metrics.ordered import Ordered


def average_ranks(values: Array) -> Tensor:
    """Ranks of values [M] from 1, float64; equal values have the mean of their ranks.

    >>> average_ranks([0.2, 0.5, 0.2])
    tensor([1.5000, 3.0000, 1.5000], dtype=torch.float64)
    """
    _, group, counts = as_float64(values).unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts - 1) / 2)[group]


def spearman(first: Array, second: Array) -> float:
    """Spearman's correlation of two vectors [M], in [-1, 1]: Pearson's of their average ranks.

    NaN where one of them is constant.

    >>> spearman([1.0, 2.0, 3.0], [10.0, 40.0, 20.0])
    0.5
    """
    return float(_correlation(average_ranks(first), average_ranks(second)))


def spearman_pooled(confidence: Array, levels: Array) -> float:
    """-Spearman(confidence, level) over all images and levels, in [-1, 1]; 1 = falls with them.

    Images differ in their confidence when clean, which keeps this below 1 for any of them.

    Args:
        confidence: [N, L] of N images at L levels.
        levels: [L], the strengths; 0 = clean.

    >>> round(spearman_pooled([[3.0, 2.0], [3.0, 1.0]], [0.0, 0.5]), 4)
    0.9428
    """
    values, levels = _table(confidence, levels)
    return -spearman(values.flatten(), levels.expand_as(values).flatten())


def weighted_spearman_pooled(confidence: Array, levels: Array) -> Callable[[Tensor], Tensor]:
    """`spearman_pooled` as a function of how often each image counts; values are sorted once.

    Args:
        confidence: see `spearman_pooled`.
        levels: see `spearman_pooled`.

    Returns:
        Whole weights [B, N] >= 0 of the images -> float64 [B].

    >>> score = weighted_spearman_pooled([[3.0, 2.0], [1.0, 2.0]], [0.0, 0.5])
    >>> score(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    tensor([ 1., -1.], dtype=torch.float64)
    """
    values, strengths = _table(confidence, levels)
    ordered, n_levels = Ordered(values.flatten()), len(strengths)
    # of n images every level has n rows: the ranks of levels less their mean are n times these
    of_levels = average_ranks(strengths) - (n_levels + 1) / 2

    def score(weights: Tensor) -> Tensor:
        counts = weights.double().repeat_interleave(n_levels, 1)
        in_group = ordered.sums(counts)
        n = counts.sum(1, keepdim=True)  # rows
        # mean rank of a group less the mean of all
        ranks = in_group.cumsum(1) - in_group / 2 - n / 2
        product = (ranks * ordered.sums(counts * of_levels.repeat(len(values)))).sum(1)
        spread = (in_group * ranks.square()).sum(1)
        of_level = n[:, 0] / n_levels * of_levels.square().sum()
        scale = (spread * of_level).sqrt()
        return torch.where(scale > 0, -product / scale, torch.nan).clamp(-1.0, 1.0)

    return score


def spearman_per_row(confidence: Array, levels: Array) -> Tensor:
    """-Spearman(confidence, level) of each image [N] over its levels; NaN where all are equal.

    Args:
        confidence: see `spearman_pooled`.
        levels: see `spearman_pooled`.

    >>> spearman_per_row([[3.0, 2.0, 1.0], [2.0, 2.0, 2.0]], [0.0, 0.5, 1.0])
    tensor([1., nan], dtype=torch.float64)
    """
    values, levels = _table(confidence, levels)
    # rank = 1 + number of smaller ones + half of the number of equal others
    lower = (values[:, :, None] > values[:, None, :]).sum(2)
    equal = (values[:, :, None] == values[:, None, :]).sum(2)
    return -_correlation(lower + (equal + 1) / 2.0, average_ranks(levels).expand_as(values))


def share_less_confident(clean: Array, corrupted: Array) -> float:
    """Share of images whose confidence is strictly lower than when clean, in [0, 1].

    Args:
        clean: [N].
        corrupted: [N], of the same images.

    >>> share_less_confident([3.0, 3.0], [2.0, 3.0])
    0.5
    """
    return float((as_float64(corrupted) < as_float64(clean)).double().mean())


def _table(confidence: Array, levels: Array) -> tuple[Tensor, Tensor]:
    values, strengths = as_float64(confidence), as_float64(levels)
    if values.ndim != 2 or strengths.shape != values.shape[1:] or values.numel() == 0:
        raise ValueError(
            "confidence must be [N, L] and levels [L] with N, L >= 1, got "
            f"{list(values.shape)} and {list(strengths.shape)}"
        )
    return values, strengths


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation along the last axis; NaN where one is constant."""
    x, y = (ranks - ranks.mean(-1, keepdim=True) for ranks in (first, second))
    scale = (x.square().sum(-1) * y.square().sum(-1)).sqrt()
    return torch.where(scale > 0, (x * y).sum(-1) / scale, torch.nan).clamp(-1.0, 1.0)
