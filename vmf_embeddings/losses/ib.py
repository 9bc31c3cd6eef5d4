"""Influence-balanced loss: images are weighted by the inverse of their gradient at the classifier.

Park et al. 2021, "Influence-Balanced Loss for Imbalanced Visual Classification", equation 8,
https://arxiv.org/abs/2110.02444.
"""

from torch import Tensor
from torch.nn.functional import cross_entropy

from vmf_embeddings.losses.base import Loss, soft_labels
from vmf_embeddings.losses.class_balanced import check_epoch


def influence_balanced_loss(
    logits: Tensor, labels: Tensor, features: Tensor, alpha: float, epsilon: float
) -> Tensor:
    """Mean of alpha / (|p - y|_1 |f|_1 + epsilon) times the cross-entropy.

    |p - y|_1 |f|_1 is the L1 norm of the gradient with respect to the class weights. The factor is
    differentiated too.

    Args:
        logits: [B, C].
        labels: [B] in 0..C-1, or soft labels [B, C].
        features: f [B, D], input of the head.
        alpha: > 0; factor of the loss, in the thousands for unit features.
        epsilon: > 0; keeps the factor finite for perfect predictions.

    Returns:
        Scalar in nats times alpha.

    Example:
        >>> import torch
        >>> z, y, f = torch.zeros(1, 2), torch.tensor([0]), torch.tensor([[1.0, 1.0]])
        >>> influence_balanced_loss(z, y, f, alpha=2.0, epsilon=0.0)  # log 2
        tensor(0.6931)
    """
    errors = logits.softmax(-1) - soft_labels(labels, logits.shape[1], logits.dtype)
    influence = errors.abs().sum(-1) * features.abs().sum(-1)
    costs = cross_entropy(logits, labels, reduction="none")
    return (alpha / (influence + epsilon) * costs).mean()


class InfluenceBalanced(Loss):
    """Cross-entropy before `start_epoch`, then the influence-balanced loss.

    Args:
        alpha: see `influence_balanced_loss`, > 0.
        epsilon: see `influence_balanced_loss`, > 0.
        start_epoch: first epoch of the influence-balanced loss, counted from 0.
    """

    def __init__(self, alpha: float, epsilon: float, start_epoch: int) -> None:
        super().__init__()
        for name, value in (("alpha", alpha), ("epsilon", epsilon)):
            if not value > 0:
                raise ValueError(f"loss.params.{name} must be > 0, got {value}.")
        check_epoch("start_epoch", start_epoch)
        self.alpha, self.epsilon, self.start_epoch = alpha, epsilon, start_epoch

    def forward(self, logits: Tensor, labels: Tensor, *, features: Tensor | None = None) -> Tensor:
        """Logits [B, C], labels [B] or soft labels [B, C], features [B, D] -> scalar."""
        if self.epoch < self.start_epoch:
            return cross_entropy(logits, labels)
        if features is None:
            raise ValueError("loss=ib needs features=[B, D], the input of the head.")
        return influence_balanced_loss(logits, labels, features, self.alpha, self.epsilon)
