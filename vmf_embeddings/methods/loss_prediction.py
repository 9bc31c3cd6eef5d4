"""A classifier beside a small network that predicts its loss on an image.

Yoo and Kweon 2019, "Learning Loss for Active Learning", https://arxiv.org/abs/1905.03677, and
Kirchhof et al. 2023, "URL: A Representation Learning Benchmark for Transferable Uncertainty
Estimates", https://arxiv.org/abs/2307.03810, where it does best among the cheap ones.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.heads.base import Head
from vmf_embeddings.losses.base import Loss
from vmf_embeddings.methods.head_and_loss import HeadAndLoss
from vmf_embeddings.methods.loss_predictor import (
    CONFIDENCE,
    LossPredictor,
    inverse_loss,
    prediction_loss,
    refuse_unusable,
)
from vmf_embeddings.methods.precision import full_precision


class LossPrediction(HeadAndLoss):
    """Loss of the logits of a head, plus a loss of u, the prediction of a row's -log p(class).

    The network that predicts takes embeddings without their gradient, so that the classifier learns
    as without it. Files and runs have 1 / u as the confidence of a row.

    Args:
        arch: the backbone.
        head: see `HeadAndLoss`.
        loss: see `HeadAndLoss`.
        posthoc_tau: see `HeadAndLoss`.
        weight: of the loss of u, > 0; for optimizers such as Adam it changes little.
        form: "value", the mean squared error of u, or "order", `order_loss` of all pairs of rows.
        margin: of "order", >= 0.
        hidden: widths of the hidden layers, each >= 1.
    """

    confidence_name = CONFIDENCE

    def __init__(
        self,
        arch: Arch,
        head: Callable[..., Head],
        loss: Loss,
        posthoc_tau: float,
        weight: float,
        form: str,
        margin: float,
        hidden: Sequence[int],
    ) -> None:
        super().__init__(arch, head, loss, posthoc_tau)
        if not weight > 0:
            raise ValueError(f"method.params.weight must be > 0, got {weight}.")
        refuse_unusable("method.params", form, margin, hidden)
        self.weight, self.form, self.margin = weight, form, margin
        self.needs_global_batch = form == "order"
        self.predictor = LossPredictor(arch.class_spec.embedding_dim, hidden)

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels [B] or soft labels [B, C] -> mean loss, scalar."""
        of_classes = super().loss(embeddings, labels)
        with torch.no_grad():
            losses = cross_entropy(self.logits(embeddings), labels, reduction="none")
        predicted = self.predicted_loss(embeddings)
        of_prediction = prediction_loss(predicted, losses, self.form, self.margin)
        return of_classes + self.weight * of_prediction

    def predicted_loss(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D], without their gradient -> u [B] in nats, > 0."""
        return self.predictor(embeddings.detach())

    @full_precision
    def confidence(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> one over the predicted loss [B]."""
        return inverse_loss(self.predicted_loss(embeddings))

    @property
    def loss_is_row_mean(self) -> bool:
        """Whether both losses are means over rows: pairs of rows are compared in order."""
        return self.form == "value" and super().loss_is_row_mean

    def sharded_parameters(self) -> list[str]:
        """None: the loss of a row needs all classes.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"trainer.shard_classes=true: method={self.name} needs the logits of all classes in "
            "every process; use method=classifier, or leave trainer.shard_classes=false"
        )
