"""Influence-balanced loss: images count less the more they pull at the classifier.

Park et al. 2021, "Influence-Balanced Loss for Imbalanced Visual Classification", equation 8,
https://arxiv.org/abs/2110.02444.
"""

from torch import Tensor
from torch.nn.functional import cross_entropy

from vmf_embeddings.losses.base import Loss, shares
from vmf_embeddings.losses.class_balanced import check_epoch


def influence_balanced_loss(
    logits: Tensor, labels: Tensor, features: Tensor, alpha: float, epsilon: float
) -> Tensor:
    """Mean of alpha / (|p - y|_1 |f|_1 + epsilon) times the cross-entropy.

    |p - y|_1 |f|_1 is the sum of the absolute gradient at the class weights. The gradient goes
    through it too: it is no constant.

    Args:
        logits: [B, C].
        labels: [B] in 0..C-1, or shares [B, C].
        features: f [B, D], what the head was given.
        alpha: > 0; it sets the size of the loss, some thousands for unit features.
        epsilon: > 0; keeps the factor finite where the prediction is perfect.

    Returns:
        Scalar in nats times alpha.

    Example:
        >>> import torch
        >>> z, y, f = torch.zeros(1, 2), torch.tensor([0]), torch.tensor([[1.0, 1.0]])
        >>> influence_balanced_loss(z, y, f, alpha=2.0, epsilon=0.0)  # log 2
        tensor(0.6931)
    """
    errors = logits.softmax(-1) - shares(labels, logits.shape[1], logits.dtype)
    influence = errors.abs().sum(-1) * features.abs().sum(-1)
    costs = cross_entropy(logits, labels, reduction="none")
    return (alpha / (influence + epsilon) * costs).mean()


class InfluenceBalanced(Loss):
    """Cross-entropy until `start_epoch`, then balanced by influence.

    Args:
        alpha: > 0.
        epsilon: > 0.
        start_epoch: epoch, from 0, from which on influence counts.
    """

    def __init__(self, alpha: float, epsilon: float, start_epoch: int) -> None:
        super().__init__()
        for knob, value in (("alpha", alpha), ("epsilon", epsilon)):
            if not value > 0:
                raise ValueError(f"loss.params.{knob} must be > 0, got {value}.")
        check_epoch("start_epoch", start_epoch)
        self.alpha, self.epsilon, self.start_epoch = alpha, epsilon, start_epoch

    def forward(self, logits: Tensor, labels: Tensor, *, features: Tensor | None = None) -> Tensor:
        """Logits [B, C], labels [B] or shares [B, C], features [B, D] -> scalar."""
        if self.epoch < self.start_epoch:
            return cross_entropy(logits, labels)
        if features is None:
            raise ValueError("loss=ib needs features=…, what the head was given [B, D].")
        return influence_balanced_loss(logits, labels, features, self.alpha, self.epsilon)
