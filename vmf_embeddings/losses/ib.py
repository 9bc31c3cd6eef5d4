"""Influence-balanced loss: images are weighted by the inverse of their gradient at the classifier.

Park et al. 2021, "Influence-Balanced Loss for Imbalanced Visual Classification", equation 8,
https://arxiv.org/abs/2110.02444.
"""

from torch import Tensor
from torch.nn.functional import cross_entropy

from vmf_embeddings.losses.base import Loss, soft_labels
from vmf_embeddings.losses.class_balanced import check_beta, check_epoch
from vmf_embeddings.losses.weights import effective_number_weights, inverse_frequency_weights

CLASS_WEIGHTS = ("inverse", "effective", "none")


def influence_balanced_loss(
    logits: Tensor,
    labels: Tensor,
    features: Tensor,
    alpha: float,
    epsilon: float,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Mean of alpha lambda_y / (|p - y|_1 |f|_1 + epsilon) times the cross-entropy.

    |p - y|_1 |f|_1 is the L1 norm of the gradient with respect to the class weights. The factor is
    differentiated too. The mean is over images, not divided by the sum of the lambda_y.

    Args:
        logits: [B, C].
        labels: [B] in 0..C-1, or soft labels [B, C].
        features: f [B, D], input of the head.
        alpha: > 0; factor of the loss, in the thousands for unit features.
        epsilon: > 0; keeps the factor finite for perfect predictions.
        class_weights: lambda of the classes [C], >= 0; None = 1 for all.

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
    weights = None if class_weights is None else class_weights.to(logits.dtype)
    costs = cross_entropy(logits, labels, weights, reduction="none")  # lambda_y CE, per image
    return (alpha / (influence + epsilon) * costs).mean()


class InfluenceBalanced(Loss):
    """Cross-entropy before `start_epoch`, then the influence-balanced loss.

    Args:
        alpha: see `influence_balanced_loss`, > 0.
        epsilon: see `influence_balanced_loss`, > 0.
        start_epoch: first epoch of the influence-balanced loss, counted from 0.
        class_weights: lambda of a class of n images, of mean 1 over the classes: "inverse" is
            proportional to 1 / n, "effective" to the inverse effective number, "none" is 1.
        beta: of the effective number, in [0, 1); used by "effective" only.
    """

    needs_class_counts = True

    def __init__(
        self, alpha: float, epsilon: float, start_epoch: int, class_weights: str, beta: float
    ) -> None:
        if class_weights not in CLASS_WEIGHTS:
            raise ValueError(
                f"loss.params.class_weights must be one of {', '.join(CLASS_WEIGHTS)}, got "
                f"{class_weights!r}."
            )
        # set first: without weights there is no buffer of class counts, nor one in checkpoints
        self.needs_class_counts = class_weights != "none"
        super().__init__()
        for name, value in (("alpha", alpha), ("epsilon", epsilon)):
            if not value > 0:
                raise ValueError(f"loss.params.{name} must be > 0, got {value}.")
        check_epoch("start_epoch", start_epoch)
        check_beta(beta)
        self.alpha, self.epsilon, self.start_epoch = alpha, epsilon, start_epoch
        self.weighting, self.beta = class_weights, beta

    @property
    def class_weights(self) -> Tensor | None:
        """Weights lambda of the classes, [C] in float64; None without weights."""
        if self.weighting == "none":
            return None
        if self.weighting == "inverse":
            return inverse_frequency_weights(self.counts)
        return effective_number_weights(self.counts, self.beta)

    def forward(self, logits: Tensor, labels: Tensor, *, features: Tensor | None = None) -> Tensor:
        """Logits [B, C], labels [B] or soft labels [B, C], features [B, D] -> scalar."""
        weights = self.class_weights
        if self.epoch < self.start_epoch:
            return cross_entropy(logits, labels)
        if features is None:
            raise ValueError("loss=ib needs features=[B, D], the input of the head.")
        return influence_balanced_loss(logits, labels, features, self.alpha, self.epsilon, weights)
