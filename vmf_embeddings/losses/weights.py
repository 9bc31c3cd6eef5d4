"""Weights of the classes, and the mean over a batch that they weigh."""

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from vmf_embeddings.losses.base import shares


def effective_number_weights(class_counts: Tensor, beta: float) -> Tensor:
    """Weights in proportion to 1 / effective number, (1 - beta) / (1 - beta^n); their mean is 1.

    Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples", equation 2,
    https://arxiv.org/abs/1901.05555.

    Args:
        class_counts: images per class [C], >= 1.
        beta: in [0, 1); 0 gives equal weights, towards 1 they go like 1/n.

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


def power_weights(class_counts: Tensor, gamma: float) -> Tensor:
    """Weights (n_min / n)^gamma: 1 for the smallest class, less for all others.

    Args:
        class_counts: images per class [C], >= 1.
        gamma: >= 0; 0 gives equal weights, 1/2 the square root, 1 the inverse count.

    Returns:
        [C] in float64.

    Example:
        >>> power_weights(torch.tensor([4, 1]), 0.5)
        tensor([0.5000, 1.0000], dtype=torch.float64)
    """
    return (class_counts.min() / class_counts.double()) ** gamma


def weighted_mean(losses: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Mean of the losses of the labels, each weighted by its class: sum(w l) / sum(w).

    Args:
        losses: what each class would cost as the label [B, C].
        labels: [B] in 0..C-1, or shares [B, C].
        weights: of the classes [C], >= 0, in the dtype of `losses`.

    Returns:
        Scalar.

    Example:
        >>> losses, labels = torch.tensor([[1.0, 0.0], [0.0, 4.0]]), torch.tensor([0, 1])
        >>> weighted_mean(losses, labels, torch.tensor([1.0, 3.0]))
        tensor(3.2500)
    """
    of_labels = shares(labels, losses.shape[1], losses.dtype) * weights
    return (of_labels * losses).sum() / of_labels.sum()


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy, weighted by class and over the sum of the weights.

    Args:
        logits: [B, C].
        labels: [B] in 0..C-1, or shares [B, C].
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
