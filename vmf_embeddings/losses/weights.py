"""Class weights from class sizes, and weighted means over a batch."""

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from vmf_embeddings.losses.base import soft_labels


def effective_number_weights(class_counts: Tensor, beta: float) -> Tensor:
    """Weights proportional to (1 - beta) / (1 - beta^n), the inverse effective number; mean 1.

    Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples", equation 2,
    https://arxiv.org/abs/1901.05555.

    Args:
        class_counts: images per class [C], >= 1.
        beta: in [0, 1); 0 = equal weights, in the limit of 1 proportional to 1/n.

    Returns:
        [C] in float64.

    Example:
        >>> effective_number_weights(torch.tensor([1, 2]), 0.5)
        tensor([1.2000, 0.8000], dtype=torch.float64)
    """
    if beta == 0:
        return torch.ones(len(class_counts), dtype=torch.float64, device=class_counts.device)
    inverse = -1 / torch.expm1(class_counts.double() * math.log(beta))
    return inverse / inverse.mean()


def inverse_frequency_weights(class_counts: Tensor) -> Tensor:
    """Weights C n_k^-1 / sum_j n_j^-1, proportional to the inverse class sizes; mean 1.

    Args:
        class_counts: n, images per class [C], >= 1.

    Returns:
        [C] in float64.

    Example:
        >>> inverse_frequency_weights(torch.tensor([30, 10]))
        tensor([0.5000, 1.5000], dtype=torch.float64)
    """
    inverse = 1 / class_counts.double()
    return inverse / inverse.mean()


def power_weights(class_counts: Tensor, gamma: float) -> Tensor:
    """Weights (n_min / n)^gamma: 1 for the smallest class, smaller for larger classes.

    Args:
        class_counts: images per class [C], >= 1.
        gamma: >= 0; 0 = equal weights, 1 = inverse counts.

    Returns:
        [C] in float64.

    Example:
        >>> power_weights(torch.tensor([4, 1]), 0.5)
        tensor([0.5000, 1.0000], dtype=torch.float64)
    """
    return (class_counts.min() / class_counts.double()) ** gamma


def weighted_mean(losses: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Class-weighted mean of the losses of the labels: sum(w_y l_y) / sum(w_y).

    Args:
        losses: loss of every possible label [B, C].
        labels: [B] in 0..C-1, or soft labels [B, C].
        weights: of the classes [C], >= 0, in the dtype of `losses`.

    Returns:
        Scalar.

    Example:
        >>> losses, labels = torch.tensor([[1.0, 0.0], [0.0, 4.0]]), torch.tensor([0, 1])
        >>> weighted_mean(losses, labels, torch.tensor([1.0, 3.0]))
        tensor(3.2500)
    """
    label_weights = soft_labels(labels, losses.shape[1], losses.dtype) * weights
    return (label_weights * losses).sum() / label_weights.sum()


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Class-weighted cross-entropy, sum(w_y CE) / sum(w_y).

    Args:
        logits: [B, C].
        labels: [B] in 0..C-1, or soft labels [B, C].
        weights: of the classes [C], >= 0.

    Returns:
        Scalar in nats.

    Example:
        >>> logits = torch.tensor([[0.0, 0.0], [3.0, -3.0]])
        >>> weighted_cross_entropy(logits, torch.tensor([0, 0]), torch.tensor([9.0, 1.0]))
        tensor(0.3478)
    """
    weights = weights.to(logits.dtype)
    if labels.is_floating_point():
        return weighted_mean(-log_softmax(logits, -1), labels, weights)
    return cross_entropy(logits, labels, weights)
