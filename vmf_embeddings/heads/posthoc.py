"""Weight maps after training: class weights brought to more equal lengths."""

import torch
from torch import Tensor


def tau_normalized(class_weights: Tensor, tau: float) -> Tensor:
    """Class weights over their length to the power tau.

    Kang et al. 2020, "Decoupling Representation and Classifier for Long-Tailed Recognition",
    section 4, https://arxiv.org/abs/1910.09217. Their classifier drops the bias as well.

    Args:
        class_weights: [C, D], none of length 0.
        tau: 0 leaves them as they are, 1 gives all the length 1; beyond 1 the short get longer.

    Returns:
        [C, D].

    Example:
        >>> tau_normalized(torch.tensor([[3.0, 4.0]]), 1.0)
        tensor([[0.6000, 0.8000]])
    """
    lengths = torch.linalg.vector_norm(class_weights, dim=-1, keepdim=True)
    return class_weights / lengths**tau


def length_limit(class_weights: Tensor, share: float) -> Tensor:
    """The length `share` of the way from the shortest to the longest class weight.

    Args:
        class_weights: [C, D].
        share: in [0, 1]; 1 = the longest.

    Returns:
        Scalar.

    Example:
        >>> length_limit(torch.tensor([[1.0, 0.0], [0.0, 3.0]]), 0.5)
        tensor(2.)
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of a length limit must be in [0, 1], got {share}.")
    lengths = torch.linalg.vector_norm(class_weights, dim=-1)
    return lengths.min() + share * (lengths.max() - lengths.min())


def shortened(class_weights: Tensor, limit: Tensor | float) -> Tensor:
    """Class weights with the longer ones pulled back to a ball: MaxNorm's projection.

    Alshammari et al. 2022, "Long-Tailed Recognition via Weight Balancing", equation 5,
    https://arxiv.org/abs/2203.14197. It is meant to follow every step of a training; by itself it
    only caps the longest weights.

    Args:
        class_weights: [C, D].
        limit: greatest length, > 0.

    Returns:
        [C, D].

    Example:
        >>> shortened(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 1.0)
        tensor([[0.6000, 0.8000],
                [0.3000, 0.4000]])
    """
    lengths = torch.linalg.vector_norm(class_weights, dim=-1, keepdim=True)
    tiny = torch.finfo(class_weights.dtype).tiny  # a weight of length 0 stays 0
    return class_weights * (limit / lengths.clamp_min(tiny)).clamp_max(1)
