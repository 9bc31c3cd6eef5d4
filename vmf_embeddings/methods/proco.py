"""ProCo: a classifier beside a contrastive loss over infinitely many draws of every class.

Du, Wang, Song, Huang 2024, "Probabilistic Contrastive Learning for Long-Tailed Visual Recognition",
https://arxiv.org/abs/2403.06726, equations 14 and 18.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.heads.base import Head
from vmf_embeddings.losses.base import Loss
from vmf_embeddings.losses.logit_adjustment import log_frequencies
from vmf_embeddings.methods.contrast_branch import ContrastBranch, above_zero, at_least, one_of
from vmf_embeddings.methods.proco_logits import contrast_loss, published_logits
from vmf_embeddings.methods.proco_statistics import (
    STATISTICS,
    ClassDistributions,
    ClassStatistics,
)

VARIANTS = ("standard", "reference")


class ProCo(ContrastBranch):
    """Loss A + alpha B: A of a head on the embeddings, B on their projections to the sphere.

    B is the cross-entropy of log E exp(x . v / temperature) + log pi_c, with x drawn from the
    distribution of class c and v the projection of an image. The distributions are those of
    projections of the last epoch and this one, without gradient.

    Args:
        arch: the backbone.
        head: see `HeadAndLoss`.
        loss: see `HeadAndLoss`.
        posthoc_tau: see `HeadAndLoss`.
        views: see `ContrastBranch`.
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

    needs_class_counts: ClassVar[bool] = True
    """Whether `set_class_counts` must be called: the contrast adds the log class frequencies."""

    not_on_prefixes: ClassVar[str | None] = "its statistics are of projections of whole embeddings"
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
        at_least(4, projection_dim=projection_dim)
        at_least(1, min_count=min_count)
        above_zero(kappa_max=kappa_max)
        one_of("statistics", statistics, STATISTICS)
        one_of("variant", variant, VARIANTS)
        super().__init__(
            *(arch, head, loss, posthoc_tau),
            views=views,
            temperature=temperature,
            alpha=alpha,
            projection_dim=projection_dim,
            projection_hidden=projection_hidden,
        )
        self.variant = variant
        n_classes = self.classifier.n_classes
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

    def contrast(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """B, the mean over the views; adds the projections to the statistics in training mode.

        Args:
            embeddings: [B, V, D].
            labels: classes [B].

        Returns:
            Scalar in nats.
        """
        if torch.compiler.is_compiling():  # series are chosen by the values
            return torch.compiler.disable(self._contrast)(embeddings, labels)
        return self._contrast(embeddings, labels)

    def _contrast(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        n_views = embeddings.shape[1]
        projected = self.projected(embeddings)
        if self.variant == "reference":  # each view is added before its own logits
            return torch.stack(
                [self._published(v, labels) for v in projected.chunk(n_views)]
            ).mean()
        each, prior = labels.repeat(n_views), self.log_prior_of_contrast
        classes = self._fitted(projected, each)
        return contrast_loss(projected, each, classes, self.contrast_temperature, prior)

    def _published(self, rows: Tensor, labels: Tensor) -> Tensor:
        classes = self._fitted(rows, labels)
        logits = published_logits(rows, classes, self.contrast_temperature)
        if self.log_prior_of_contrast is not None:
            logits = logits + self.log_prior_of_contrast.to(logits)
        return cross_entropy(logits, labels)

    def _fitted(self, rows: Tensor, labels: Tensor) -> ClassDistributions:
        """The distributions of the classes, with these rows in training mode."""
        if self.training:
            self.statistics.add(rows, labels)
        return self.statistics.fitted()

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

    def status(self) -> dict[str, float]:
        """The temperature of a head that has one, and the mean concentration of the classes."""
        kappa = self.statistics.fitted().kappa.mean()
        return super().status() | {"class_kappa": float(kappa)}
