"""Balanced softmax: cross-entropy of logits plus the log class frequencies of the training split.

Ren et al. 2020, "Balanced Meta-Softmax for Long-Tailed Visual Recognition", equation 4,
https://arxiv.org/abs/2007.10740.
"""

from torch import Tensor
from torch.nn.functional import cross_entropy

from vmf_embeddings.losses.base import Loss


def balanced_softmax_loss(logits: Tensor, labels: Tensor, class_counts: Tensor) -> Tensor:
    """Cross-entropy of z + log n.

    As the prior is added explicitly, the logits z themselves suit a balanced test set. Equal counts
    give plain cross-entropy.

    Args:
        logits: [B, C].
        labels: [B] in 0..C-1, or soft labels [B, C].
        class_counts: images per class [C], >= 1.

    Returns:
        Mean in nats, scalar.

    Example:
        >>> import torch
        >>> balanced_softmax_loss(torch.zeros(1, 2), torch.tensor([1]), torch.tensor([3, 1]))
        tensor(1.3863)
    """
    return cross_entropy(logits + class_counts.to(logits.dtype).log(), labels)


class BalancedSoftmax(Loss):
    """Cross-entropy of logits plus log counts, in training only."""

    needs_class_counts = True
    uses_prior = True

    def forward(self, logits: Tensor, labels: Tensor, *, features: Tensor | None = None) -> Tensor:
        """Logits [B, C], labels [B] or soft labels [B, C] -> scalar in nats."""
        return balanced_softmax_loss(logits, labels, self.counts)
