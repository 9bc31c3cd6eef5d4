"""A classifier beside a small network that predicts its loss on an image.

Yoo and Kweon 2019, "Learning Loss for Active Learning", https://arxiv.org/abs/1905.03677, and
Kirchhof et al. 2023, "URL: A Representation Learning Benchmark for Transferable Uncertainty
Estimates", https://arxiv.org/abs/2307.03810, where it does best among the cheap ones.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.heads.base import Head
from vmf_embeddings.losses.base import Loss
from vmf_embeddings.methods.head_and_loss import HeadAndLoss
from vmf_embeddings.methods.precision import full_precision

FORMS = ("value", "order")
_LEAST = 1e-30  # of a predicted loss, whose inverse is finite in float32


def order_loss(predicted: Tensor, losses: Tensor, margin: float) -> Tensor:
    """Mean over pairs of rows of max(0, margin - sign(l_i - l_j) (u_i - u_j)).

    Args:
        predicted: u [B].
        losses: l [B].
        margin: >= 0.

    Returns:
        Scalar >= 0; 0 if all differ in the right order by the margin, and for one row.

    Example:
        >>> order_loss(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 5.0]), 0.1)
        tensor(0.)
    """
    first, second = torch.triu_indices(*[len(losses)] * 2, offset=1, device=losses.device)
    sign = (losses[first] - losses[second]).sign()
    hinge = (margin - sign * (predicted[first] - predicted[second])).relu()
    return hinge.sum() / max(1, len(first))


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

    confidence_name = "inverse_predicted_loss"

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
        if not margin >= 0:
            raise ValueError(f"method.params.margin must be >= 0, got {margin}.")
        if form not in FORMS:
            raise ValueError(f"method.params.form is one of {', '.join(FORMS)}; got {form!r}.")
        if any(width < 1 for width in hidden):
            raise ValueError(
                f"method.params.hidden expects widths such as [256,256], got {list(hidden)}."
            )
        self.weight, self.form, self.margin = weight, form, margin
        self.needs_global_batch = form == "order"
        widths = [arch.class_spec.embedding_dim, *hidden]
        layers: list[nn.Module] = []
        for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Linear(n_in, n_out), nn.LeakyReLU()]
        self.predictor = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels [B] or soft labels [B, C] -> mean loss, scalar."""
        of_classes = super().loss(embeddings, labels)
        with torch.no_grad():
            losses = cross_entropy(self.logits(embeddings), labels, reduction="none")
        return of_classes + self.weight * self._of_prediction(embeddings, losses)

    def _of_prediction(self, embeddings: Tensor, losses: Tensor) -> Tensor:
        predicted = self.predicted_loss(embeddings)
        if self.form == "order":
            return order_loss(predicted, losses, self.margin)
        return (predicted - losses).square().mean()

    def predicted_loss(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D], without their gradient -> u [B] in nats, > 0."""
        return softplus(self.predictor(embeddings.detach()).squeeze(-1))

    @full_precision
    def confidence(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> one over the predicted loss [B]."""
        return 1 / self.predicted_loss(embeddings).clamp_min(_LEAST)

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
