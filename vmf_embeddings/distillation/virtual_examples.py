"""Virtual examples: a trained network's soft labels of an image, counted as fractions of examples.

He, Wu, Wei 2021, "Distilling Virtual Examples for Long-tailed Recognition", ICCV,
https://arxiv.org/abs/2103.15042. An image predicted as 0.7 dog and 0.3 cat counts as 0.7 of a dog
and 0.3 of a virtual cat. Summed over the training images they give the class distribution from
which a student learns.
"""

import math

from torch import Tensor


def power_normalize(probabilities: Tensor, power: float) -> Tensor:
    """Probabilities to a power, divided by their sum.

    A power below 1 flattens, 1 changes nothing, above 1 sharpens. Applied to `softmax(z / tau)` it
    gives `softmax(power * z / tau)`, a softmax of temperature `tau / power`.

    Args:
        probabilities: [..., C], >= 0, at least one > 0 in each row.
        power: > 0.

    Returns:
        [..., C], rows sum to 1; a probability of 0 stays 0.

    Example:
        >>> import torch
        >>> power_normalize(torch.tensor([0.8, 0.2]), 0.5)
        tensor([0.6667, 0.3333])
    """
    return (power * probabilities.log()).softmax(-1)  # softmax cannot underflow


def log_virtual_examples(logits: Tensor, temperature: float, power: float = 1.0) -> Tensor:
    """Logarithms of the virtual examples `power_normalize(softmax(logits / temperature), power)`.

    From the logits, as probabilities could underflow to 0, whose logarithm is infinite.

    Args:
        logits: raw logits [B, C], or [B, S, C] of S draws, whose probabilities are averaged.
        temperature: tau > 0; 1 leaves the prediction as it is, large values make it uniform.
        power: > 0, exponent of the probabilities.

    Returns:
        [B, C], the log-probabilities, <= 0.

    Example:
        >>> import torch
        >>> log_virtual_examples(torch.tensor([[2.0, 0.0]]), temperature=2.0).exp()
        tensor([[0.7311, 0.2689]])
    """
    if logits.ndim == 2:
        return (power / temperature * logits).log_softmax(-1)
    mean = (logits / temperature).log_softmax(-1).logsumexp(1) - math.log(logits.shape[1])
    return (power * mean).log_softmax(-1)


def virtual_counts(logits: Tensor, temperature: float, power: float = 1.0) -> Tensor:
    """Number of virtual examples of each class: its soft labels summed over all images.

    Args:
        logits: [N, C] or [N, S, C] of the training images.
        temperature: tau > 0; the counts tend to N / C as it grows.
        power: > 0, exponent of the probabilities.

    Returns:
        float64 [C], summing to N.

    Example:
        >>> import torch
        >>> virtual_counts(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), temperature=2.0)
        tensor([1.2311, 0.7689], dtype=torch.float64)
    """
    return log_virtual_examples(logits.double(), temperature, power).exp().sum(0)
