"""Sums of exponentials over parts of a matrix, and pairwise distances: what criteria share."""

import torch
from torch import Tensor

FAR_BELOW = -1e30  # stands for minus infinity: exp is 0, and gradients stay numbers


def log_sum_exp(values: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """Logarithm of the sum of exponentials of what a mask picks.

    Args:
        values: any shape.
        mask: bool, same shape.
        dim: axis that is summed over.

    Returns:
        Without the axis; very negative (-1e30) where the mask picks nothing, with gradient 0.

    Example:
        >>> log_sum_exp(torch.zeros(2, 3), torch.tensor([[True, True, False], [False] * 3]))[0]
        tensor(0.6931)
    """
    return values.masked_fill(~mask, FAR_BELOW).logsumexp(dim)


def log1p_sum_exp(values: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """log(1 + sum of exponentials of what a mask picks); 0 where it picks nothing.

    Args:
        values: any shape.
        mask: bool, same shape.
        dim: axis that is summed over.

    Returns:
        Without the axis, >= 0.

    Example:
        >>> log1p_sum_exp(torch.zeros(2, 3), torch.tensor([[True, True, False], [False] * 3]))
        tensor([1.0986, 0.0000])
    """
    total = log_sum_exp(values, mask, dim)
    return torch.logaddexp(total, torch.zeros_like(total))


def squared_distances(rows: Tensor, columns: Tensor) -> Tensor:
    """Squared Euclidean distances.

    Args:
        rows: [N, D].
        columns: [M, D].

    Returns:
        [N, M], >= 0; rounding may make 1e-6 of 0 in float32.

    Example:
        >>> squared_distances(torch.tensor([[0.0, 3.0]]), torch.tensor([[4.0, 0.0]]))
        tensor([[25.]])
    """
    lengths = rows.square().sum(-1)[:, None] + columns.square().sum(-1)
    return (lengths - 2 * rows @ columns.T).clamp_min(0)  # rounding would make it negative


def mean_of(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of what a mask picks, scalar; 0, with gradient 0, where it picks nothing.

    Example:
        >>> mean_of(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([True, True, False]))
        tensor(1.5000)
    """
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp_min(1)
