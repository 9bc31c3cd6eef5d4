"""Softmax equalization loss: rare classes are often left out of the softmax of other images.

Tan et al. 2020, "Equalization Loss for Long-Tailed Object Recognition", equations 7 and 8,
https://arxiv.org/abs/2003.05176.
"""

import torch
from torch import Tensor

from vmf_embeddings.losses.base import Loss, soft_labels
from vmf_embeddings.losses.logit_adjustment import log_frequencies


def softmax_equalization_loss(logits: Tensor, labels: Tensor, excluded: Tensor) -> Tensor:
    """-log(exp(z_y) / sum_k w_k exp(z_k)) with w_k = 1 - excluded_k (1 - y_k).

    Computed as a logsumexp with log weights, -inf for w_k = 0, so that it cannot overflow.

    Args:
        logits: [B, C].
        labels: [B] in 0..C-1, or soft labels [B, C].
        excluded: [B, C], 1 = the class is left out of the sum, unless it is the label; else 0.

    Returns:
        Mean in nats, scalar.

    Example:
        >>> z, y = torch.zeros(1, 3), torch.tensor([0])
        >>> softmax_equalization_loss(z, y, torch.tensor([[1.0, 1.0, 0.0]]))  # log 2
        tensor(0.6931)
    """
    target = soft_labels(labels, logits.shape[1], logits.dtype)
    log_weights = torch.log1p(-excluded.to(logits.dtype) * (1 - target))
    return ((logits + log_weights).logsumexp(-1) - (target * logits).sum(-1)).mean()


class SoftmaxEqualization(Loss):
    """Leaves out classes of a frequency below `threshold`, each with probability `gamma` per image.

    Args:
        gamma: probability in [0, 1].
        threshold: lambda, a fraction of the training images in [0, 1].
    """

    needs_class_counts = True

    def __init__(self, gamma: float, threshold: float) -> None:
        super().__init__()
        for name, value in (("gamma", gamma), ("threshold", threshold)):
            if not 0 <= value <= 1:
                raise ValueError(f"loss.params.{name} must be in [0, 1], got {value}.")
        self.gamma, self.threshold = gamma, threshold

    def forward(self, logits: Tensor, labels: Tensor, *, features: Tensor | None = None) -> Tensor:
        """Logits [B, C], labels [B] or soft labels [B, C] -> scalar in nats; random."""
        is_rare = log_frequencies(self.counts).exp() < self.threshold
        excluded = (torch.rand_like(logits) < self.gamma) & is_rare
        return softmax_equalization_loss(logits, labels, excluded)
