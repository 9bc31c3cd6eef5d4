"""ProCo: a classifier beside a contrastive loss over infinitely many draws of every class.

Du, Wang, Song, Huang 2024, "Probabilistic Contrastive Learning for Long-Tailed Visual Recognition",
https://arxiv.org/abs/2403.06726, equations 14 and 18.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.heads.base import Head
from vmf_embeddings.losses.base import Loss
from vmf_embeddings.losses.logit_adjustment import log_frequencies
from vmf_embeddings.methods.base import BatchLayout, Method
from vmf_embeddings.methods.head_and_loss import HeadAndLoss
from vmf_embeddings.methods.precision import full_precision
from vmf_embeddings.methods.proco_logits import contrast_logits, published_logits
from vmf_embeddings.methods.proco_statistics import STATISTICS, ClassStatistics

VARIANTS = ("standard", "reference")
ONE_VIEW = "method.params.views=1"


class ProCo(HeadAndLoss):
    """Loss A + alpha B: A of a head on the embeddings, B on their projections to the sphere.

    B is the cross-entropy of log E exp(x . v / temperature) + log pi_c, with x drawn from the
    distribution of class c and v the projection of an image. The distributions are those of
    projections of the last epoch and this one, without gradient. Predictions are those of the head.

    Args:
        arch: the backbone.
        head: see `HeadAndLoss`.
        loss: see `HeadAndLoss`.
        posthoc_tau: see `HeadAndLoss`.
        views: of every image: the first is for A, the others for B; with 1 it is for both.
        temperature: of B, > 0.
        alpha: weight of B, >= 0.
        projection_dim: D of the sphere, >= 4.
        projection_hidden: width of the layer before it, >= 1.
        adjust: whether B adds the log class frequencies.
        statistics: "window" or "shrunk", see `ClassStatistics`.
        min_count: rows that a class needs to have a concentration above 0, >= 1.
        kappa_max: largest concentration, > 0.
        variant: "standard", or "reference" for statistics and normaliser of the published code.
    """

    batch_layout: ClassVar[BatchLayout] = BatchLayout(views=3, one_view=ONE_VIEW)
    needs_global_batch: ClassVar[bool] = True
    needs_class_counts: ClassVar[bool] = True
    """Whether `set_class_counts` must be called: the contrast adds the log class frequencies."""

    log_prior_of_contrast: Tensor | None

    def __init__(
        self,
        arch: Arch,
        head: Callable[..., Head],
        loss: Loss,
        posthoc_tau: float,
        views: int,
        temperature: float,
        alpha: float,
        projection_dim: int,
        projection_hidden: int,
        adjust: bool,
        statistics: str,
        min_count: int,
        kappa_max: float,
        variant: str,
    ) -> None:
        super().__init__(arch, head, loss, posthoc_tau)
        _check(views=(views, 1), projection_dim=(projection_dim, 4))
        _check(projection_hidden=(projection_hidden, 1), min_count=(min_count, 1), alpha=(alpha, 0))
        _check_above_zero(temperature=temperature, kappa_max=kappa_max)
        _one_of("statistics", statistics, STATISTICS)
        _one_of("variant", variant, VARIANTS)
        self.batch_layout = BatchLayout(views=views, one_view=ONE_VIEW)
        self.contrast_temperature, self.alpha, self.variant = temperature, alpha, variant
        n_classes, dim = self.classifier.n_classes, arch.class_spec.embedding_dim
        self.projection = nn.Sequential(
            nn.Linear(dim, projection_hidden, bias=False),  # batch normalisation has its bias
            nn.BatchNorm1d(projection_hidden),
            nn.ReLU(),
            nn.Linear(projection_hidden, projection_dim),
        )
        # its rows are those of the whole batch already: no process has to share them
        self.projection[1].shares_statistics = True
        self.statistics = ClassStatistics(
            n_classes,
            projection_dim,
            statistics=statistics,
            min_count=min_count,
            kappa_max=kappa_max,
            reference=variant == "reference",
        )
        prior = torch.zeros(n_classes) if adjust else None
        self.register_buffer("log_prior_of_contrast", prior)

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Computes A + alpha B, and adds the projections to the statistics in training mode.

        Args:
            embeddings: of all views [B, V, D], or of one [B, D].
            labels: classes [B].

        Returns:
            Mean in nats, scalar.
        """
        views = embeddings[:, None] if embeddings.ndim == 2 else embeddings
        supervised = super().loss(views[:, 0], labels)
        if not self.alpha:
            return supervised
        rows = views[:, 1:] if views.shape[1] > 1 else views
        contrast = self.contrast
        if torch.compiler.is_compiling():  # series are chosen by the values
            contrast = torch.compiler.disable(contrast)
        return supervised + self.alpha * contrast(rows, labels)

    def contrast(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """B, the mean over the views.

        Args:
            embeddings: [B, V, D].
            labels: classes [B].

        Returns:
            Scalar in nats.
        """
        n_views = embeddings.shape[1]
        projected = normalize(self.projection(embeddings.transpose(0, 1).flatten(0, 1)), dim=1)
        if self.variant == "reference":  # each view is added before its own logits
            losses = [self._of_rows(v, labels, published_logits) for v in projected.chunk(n_views)]
            return torch.stack(losses).mean()
        return self._of_rows(projected, labels.repeat(n_views), contrast_logits)

    def _of_rows(self, rows: Tensor, labels: Tensor, logits_of: Callable[..., Tensor]) -> Tensor:
        if self.training:
            self.statistics.add(rows, labels)
        logits = logits_of(rows, self.statistics.fitted(), self.contrast_temperature)
        if self.log_prior_of_contrast is not None:
            logits = logits + self.log_prior_of_contrast.to(logits)
        return cross_entropy(logits, labels)

    def loss_inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Arguments of `loss`: embeddings of all views [B, V, D], or [B, D] of one."""
        images, labels = batch["examples"], batch["ids"]
        if self.batch_layout.views == 1:
            return super().loss_inputs(batch)
        embeddings = self.embed(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        return {"embeddings": self._scaled(embeddings, labels), "labels": labels}

    def embedding_loss(self, embeddings: Tensor, labels: Tensor, **context: Any) -> Tensor:
        """The loss of a training step from embeddings [B, V, D], or [B, D]; see `loss`."""
        return self.loss(self._scaled(embeddings, labels), labels, **context)

    def _scaled(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """`scale_features` of every view."""
        if embeddings.ndim == 2:
            return self.scale_features(embeddings, labels)
        each = labels.repeat_interleave(embeddings.shape[1])
        return self.scale_features(embeddings.flatten(0, 1), each).view_as(embeddings)

    def set_class_counts(self, class_counts: Tensor) -> None:
        """Takes the log class frequencies of both losses from the images per class [C]."""
        super().set_class_counts(class_counts)
        if self.log_prior_of_contrast is not None:
            self._refuse_other_classes(class_counts)
            self.log_prior_of_contrast.copy_(log_frequencies(class_counts))

    def begin_epoch(self, epoch: int) -> None:
        """Passes the epoch to the loss and moves the window of the statistics."""
        super().begin_epoch(epoch)
        self.statistics.begin_epoch(epoch)

    @property
    def loss_is_row_mean(self) -> bool:
        """False: the distributions of the classes depend on all rows of the batch."""
        return False

    def status(self) -> dict[str, float]:
        """The temperature of a head that has one, and the mean concentration of the classes."""
        kappa = self.statistics.fitted().kappa.mean()
        return super().status() | {"class_kappa": float(kappa)}

    def sharded_parameters(self) -> list[str]:
        """Refuses: the contrast needs all classes in every process."""
        return Method.sharded_parameters(self)


def _check(**bounds: tuple[float, float]) -> None:
    for key, (value, least) in bounds.items():
        if not value >= least:
            raise ValueError(f"method.params.{key} must be >= {least}, got {value}.")


def _check_above_zero(**values: float) -> None:
    for key, value in values.items():
        if not value > 0:
            raise ValueError(f"method.params.{key} must be > 0, got {value}.")


def _one_of(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"method.params.{key} is one of {', '.join(known)}; got {value!r}.")
