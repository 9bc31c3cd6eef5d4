"""Focal loss: images that are predicted well have less weight.

Lin et al. 2017, "Focal Loss for Dense Object Detection", https://arxiv.org/abs/1708.02002, for
several classes: with one softmax, or with one sigmoid per class.
"""

from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

from vmf_embeddings.losses.base import Loss, soft_labels

FORMS = ("softmax", "sigmoid")


def focal_of(cross_entropies: Tensor, gamma: float) -> Tensor:
    """(1 - p)^gamma times -log p, from -log p.

    Args:
        cross_entropies: -log p >= 0, any shape.
        gamma: >= 0; 0 = unchanged.

    Returns:
        The same shape, in nats.

    Example:
        >>> import torch
        >>> focal_of(torch.tensor([0.5, 0.25]).log().neg(), 2.0)
        tensor([0.1733, 0.7798])
    """
    if gamma == 0:
        return cross_entropies
    one_minus_p = -(-cross_entropies).expm1()
    if gamma < 1:  # x^gamma has an infinite slope at 0
        one_minus_p = one_minus_p.clamp_min(1e-12)
    return one_minus_p**gamma * cross_entropies


def focal_loss(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Mean of (1 - p_y)^gamma times the cross-entropy, p of the softmax.

    Args:
        logits: [B, C].
        labels: [B] in 0..C-1, or soft labels [B, C].
        gamma: >= 0.

    Returns:
        Scalar in nats.

    Example:
        >>> import torch
        >>> focal_loss(torch.zeros(1, 2), torch.tensor([0]), gamma=2.0)
        tensor(0.1733)
    """
    costs = -log_softmax(logits, -1)
    if labels.is_floating_point():
        return (labels.to(logits.dtype) * focal_of(costs, gamma)).sum(-1).mean()
    return focal_of(costs.gather(1, labels[:, None]), gamma).mean()


def sigmoid_focal_loss(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Focal binary cross-entropies: summed over the classes, averaged over the batch.

    Args:
        logits: [B, C], of one sigmoid per class.
        labels: [B] in 0..C-1, or soft labels [B, C].
        gamma: >= 0.

    Returns:
        Scalar in nats.

    Example:
        >>> import torch
        >>> sigmoid_focal_loss(torch.zeros(1, 3), torch.tensor([0]), gamma=0.0)  # 3 log 2
        tensor(2.0794)
    """
    target = soft_labels(labels, logits.shape[1], logits.dtype)
    positive = focal_of(-logsigmoid(logits), gamma)
    negative = focal_of(-logsigmoid(-logits), gamma)
    return (target * positive + (1 - target) * negative).sum(-1).mean()


class Focal(Loss):
    """Focal loss on a softmax over the classes or on one sigmoid per class.

    Args:
        gamma: >= 0.
        form: "softmax" or "sigmoid".
    """

    def __init__(self, gamma: float, form: str) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"loss.params.gamma must be >= 0, got {gamma}.")
        if form not in FORMS:
            raise ValueError(f"loss.params.form must be one of {', '.join(FORMS)}, got {form!r}.")
        self.gamma, self.form = gamma, form

    def forward(self, logits: Tensor, labels: Tensor, *, features: Tensor | None = None) -> Tensor:
        """Logits [B, C], labels [B] or soft labels [B, C] -> scalar in nats."""
        loss = focal_loss if self.form == "softmax" else sigmoid_focal_loss
        return loss(logits, labels, self.gamma)

    def for_prediction(self, logits: Tensor) -> Tensor:
        """Logits [B, C]; log sigmoids for form=sigmoid, whose softmax normalises the sigmoids."""
        return logits if self.form == "softmax" else logsigmoid(logits)
