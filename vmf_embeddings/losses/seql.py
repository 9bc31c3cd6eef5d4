"""Softmax equalization loss: rare classes are often spared the gradient of other classes' images.

Tan et al. 2020, "Equalization Loss for Long-Tailed Object Recognition", equations 7 and 8,
https://arxiv.org/abs/2003.05176.
"""

import torch
from torch import Tensor

from vmf_embeddings.losses.base import Loss, shares
from vmf_embeddings.losses.logit_adjustment import log_frequencies


def softmax_equalization_loss(logits: Tensor, labels: Tensor, spared: Tensor) -> Tensor:
    """-log of e^(z_y) / sum_k w_k e^(z_k), with w_k = 1 - spared_k (1 - y_k).

    A weight of 0 is a log weight of minus infinity inside a logsumexp: nothing can overflow.

    Args:
        logits: [B, C].
        labels: [B] in 0..C-1, or shares [B, C].
        spared: which classes to leave out of whose sums [B, C], 0 or 1; a label's own class stays.

    Returns:
        Mean in nats, scalar.

    Example:
        >>> z, y = torch.zeros(1, 3), torch.tensor([0])
        >>> softmax_equalization_loss(z, y, torch.tensor([[1.0, 1.0, 0.0]]))  # log 2
        tensor(0.6931)
    """
    target = shares(labels, logits.shape[1], logits.dtype)
    log_weights = torch.log1p(-spared.to(logits.dtype) * (1 - target))
    return ((logits + log_weights).logsumexp(-1) - (target * logits).sum(-1)).mean()


class SoftmaxEqualization(Loss):
    """Spares classes with a frequency below `threshold`, each with probability `gamma` per image.

    Args:
        gamma: probability in [0, 1].
        threshold: lambda, a share of the training images in [0, 1].
    """

    needs_class_counts = True

    def __init__(self, gamma: float, threshold: float) -> None:
        super().__init__()
        for knob, value in (("gamma", gamma), ("threshold", threshold)):
            if not 0 <= value <= 1:
                raise ValueError(f"loss.params.{knob} must be in [0, 1], got {value}.")
        self.gamma, self.threshold = gamma, threshold

    def forward(self, logits: Tensor, labels: Tensor, *, features: Tensor | None = None) -> Tensor:
        """Logits [B, C], labels [B] or shares [B, C] -> scalar in nats, by fresh draws."""
        is_rare = log_frequencies(self.counts).exp() < self.threshold
        spared = (torch.rand_like(logits) < self.gamma) & is_rare
        return softmax_equalization_loss(logits, labels, spared)
