"""Base of the methods that train any head with any loss on the logits."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.geometry import Euclidean, Geometry
from vmf_embeddings.heads.base import Head
from vmf_embeddings.losses.base import Loss
from vmf_embeddings.losses.ce import CrossEntropy
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.class_parameters import known_classes
from vmf_embeddings.methods.precision import full_precision

log = logging.getLogger(__name__)


class HeadAndLoss(Method):
    """Loss of the logits of a head; class priors in the loss are not used in predictions.

    Args:
        arch: the backbone. Its temperature is ignored: the head has a scale of the logits.
        head: called with `n_classes` and `dim`, returns the head.
        loss: loss on logits.
        posthoc_tau: t of post-hoc logit adjustment (Menon et al. 2021, https://arxiv.org/abs/2007.07314):
            predictions use z - t log pi, with class frequencies pi; 0 = none.
    """

    takes_soft_labels = True

    log_prior: Tensor | None

    def __init__(
        self, arch: Arch, head: Callable[..., Head], loss: Loss, posthoc_tau: float
    ) -> None:
        super().__init__(arch)
        if not posthoc_tau >= 0:
            raise ValueError(f"method.params.posthoc_tau must be >= 0, got {posthoc_tau}.")
        if arch.class_spec.learn_temp or arch.class_spec.init_temp:
            log.warning(
                "method=%s reads neither arch.params.learn_temp nor arch.params.init_temp: the "
                "scale of its logits is that of head=…, as head.params.scale",
                self.name,
            )
        n_classes = known_classes(arch.class_spec)
        self.classifier = head(n_classes=n_classes, dim=arch.class_spec.embedding_dim)
        self.objective = loss
        if loss.requires_cosine_head:
            self.classifier.set_scale(loss.scale)
        self.posthoc_tau = posthoc_tau
        self.register_buffer("log_prior", torch.zeros(n_classes) if posthoc_tau else None)
        if posthoc_tau and loss.uses_prior:
            log.warning(
                "method.params.posthoc_tau=%g under loss=%s: the log class frequencies are "
                "corrected for twice, by the loss in training and again in predictions. Use one of "
                "them: method.params.posthoc_tau=0, or loss=ce",
                *(posthoc_tau, loss.name),
            )

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels [B] or soft labels [B, C] -> mean loss in nats, scalar."""
        if self.class_shard is not None:
            embeddings, scale = self.class_shard.sum_gradients(
                embeddings, self.classifier.scale.to(embeddings)
            )
            logits = scale * self.classifier.logits(embeddings)
            return self.class_shard.cross_entropy(logits, labels)
        return self.objective(self.classifier(embeddings), labels, features=embeddings)

    @full_precision
    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> logits [B, C], scaled, without what the loss adds in training."""
        logits = self.objective.for_prediction(self.classifier(embeddings))
        if self.log_prior is None:
            return logits
        own = slice(None) if self.class_shard is None else self.class_shard.classes
        return logits - self.posthoc_tau * self.log_prior[own]

    @full_precision
    def unadjusted_logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> logits [B, C] of the head, scaled."""
        return self.classifier(embeddings)

    @property
    def geometry(self) -> Geometry:
        """Geometry of the head: cosine for heads on cosines, otherwise Euclidean."""
        return self.classifier.geometry

    @property
    def uses_norm(self) -> bool:
        """Whether the head's logits depend on the norm of the embeddings."""
        return self.classifier.uses_norm

    @property
    def class_weights(self) -> Tensor | None:
        """Class weights of the head [C, D], or None if it has none in the space of embeddings."""
        return self.classifier.weight

    @property
    def linear_head(self) -> Head | None:
        """The head, if it compares embeddings by dot products with class weights."""
        is_linear = isinstance(self.geometry, Euclidean) and self.class_weights is not None
        return self.classifier if is_linear else None

    @property
    def temperature(self) -> Tensor:
        """1 / scale of the head, scalar; not the temperature of `arch`."""
        return 1 / self.classifier.scale.to(next(self.parameters(), torch.ones(())))

    @property
    def loss_is_row_mean(self) -> bool:
        """Whether the loss on logits is one."""
        return self.objective.is_row_mean

    @property
    def second_stage(self) -> str | None:
        """The second-stage `mode=` of the head; None = it can be trained from scratch."""
        return self.classifier.second_stage

    @property
    def uses_prior(self) -> bool:
        """Whether the loss adds the log frequency of the classes."""
        return self.objective.uses_prior

    def describe(self) -> dict[str, Any]:
        """What embedding files record: that predictions are without the class frequencies."""
        return {"prior_removed": True} if self.posthoc_tau else {}

    def status(self) -> dict[str, float]:
        """The temperature, if the head has a scale."""
        if not self.classifier.has_scale:
            return {}
        return {"temperature": float(self.temperature.detach())}

    def undecayed_parameters(self) -> list[torch.nn.Parameter]:
        """Parameters of the head without weight decay."""
        return self.classifier.undecayed_parameters()

    def sharded_parameters(self) -> list[str]:
        """Class weights and bias of the head.

        Raises:
            ValueError: the loss, or the head, needs all classes in every process.
        """
        if type(self.objective) is not CrossEntropy:
            raise ValueError(
                f"trainer.shard_classes=true: loss={self.objective.name} needs the logits of all "
                "classes in every process; use loss=ce, or leave trainer.shard_classes=false"
            )
        if self.classifier.second_stage is not None or self.class_weights is None:
            raise ValueError(
                f"trainer.shard_classes=true: head={self.classifier.name} needs all classes in "
                "every process; use head=linear, cosine, cosnorm or tvmf, or leave "
                "trainer.shard_classes=false"
            )
        if self.classifier.normalizer:
            raise ValueError(
                "trainer.shard_classes=true: head.params.normalizer=true is for one process with "
                "all classes; leave one of the two false"
            )
        has_bias = self.classifier.bias is not None
        return ["classifier.weight", *(["classifier.bias"] if has_bias else [])]

    def set_class_counts(self, class_counts: Tensor) -> None:
        """Passes the images per class [C] to the loss and to the post-hoc adjustment."""
        if self.objective.needs_class_counts or self.log_prior is not None:
            self._refuse_other_classes(class_counts)
        self.objective.prepare(class_counts)
        if self.log_prior is not None:
            frequencies = class_counts.double() / class_counts.sum()
            self.log_prior.copy_(frequencies.log())

    def set_posthoc_tau(self, tau: float, class_counts: Tensor) -> None:
        """Sets t of the post-hoc logit adjustment after training, see `posthoc_tau`.

        Args:
            tau: t >= 0; 0 = none.
            class_counts: images per class [C] of the training split, >= 1.
        """
        if not tau >= 0:
            raise ValueError(f"tau of the post-hoc adjustment must be >= 0, got {tau}.")
        self._refuse_other_classes(class_counts)
        weight = next(self.parameters())
        self.posthoc_tau = tau
        self.log_prior = (class_counts / class_counts.sum()).log().to(weight) if tau else None

    def _refuse_other_classes(self, class_counts: Tensor) -> None:
        if len(class_counts) != self.classifier.n_classes:
            raise ValueError(
                f"the training split has {len(class_counts)} classes, the head has "
                f"{self.classifier.n_classes}; say arch.params.n_classes=null."
            )

    def begin_epoch(self, epoch: int) -> None:
        """Passes the epoch to the loss, whose class weights may start at a later epoch."""
        self.objective.begin_epoch(epoch)
