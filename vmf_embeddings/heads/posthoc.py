"""Rescaling of class weights after training, which makes their norms more equal."""

import torch
from torch import Tensor


def tau_normalized(class_weights: Tensor, tau: float) -> Tensor:
    """Class weights w_k / |w_k|^tau.

    Kang et al. 2020, "Decoupling Representation and Classifier for Long-Tailed Recognition",
    section 4, https://arxiv.org/abs/1910.09217. Their classifier drops the bias as well.

    Args:
        class_weights: [C, D], no row of norm 0.
        tau: 0 = unchanged, 1 = norm 1; above 1 the order of the norms is reversed.

    Returns:
        [C, D].

    Example:
        >>> tau_normalized(torch.tensor([[3.0, 4.0]]), 1.0)
        tensor([[0.6000, 0.8000]])
    """
    norms = torch.linalg.vector_norm(class_weights, dim=-1, keepdim=True)
    return class_weights / norms**tau


def norm_limit(class_weights: Tensor, fraction: float) -> Tensor:
    """Norm at a fraction of the range from the smallest to the largest norm of the class weights.

    Args:
        class_weights: [C, D].
        fraction: in [0, 1]; 0 = the smallest norm, 1 = the largest.

    Returns:
        Scalar.

    Example:
        >>> norm_limit(torch.tensor([[1.0, 0.0], [0.0, 3.0]]), 0.5)
        tensor(2.)
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"the fraction of the range of norms must be in [0, 1], got {fraction}.")
    norms = torch.linalg.vector_norm(class_weights, dim=-1)
    return norms.min() + fraction * (norms.max() - norms.min())


def max_norm_projected(class_weights: Tensor, limit: Tensor | float) -> Tensor:
    """Class weights projected onto the ball of radius `limit`: w_k min(1, limit / |w_k|).

    Alshammari et al. 2022, "Long-Tailed Recognition via Weight Balancing", equation 5,
    https://arxiv.org/abs/2203.14197. The paper applies it after every training step; here it is
    applied once, after training.

    Args:
        class_weights: [C, D].
        limit: largest norm, > 0.

    Returns:
        [C, D].

    Example:
        >>> max_norm_projected(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 1.0)
        tensor([[0.6000, 0.8000],
                [0.3000, 0.4000]])
    """
    norms = torch.linalg.vector_norm(class_weights, dim=-1, keepdim=True)
    tiny = torch.finfo(class_weights.dtype).tiny  # a weight of norm 0 stays 0
    return class_weights * (limit / norms.clamp_min(tiny)).clamp_max(1)
