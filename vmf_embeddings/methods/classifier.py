"""The classifier: a head and a loss of one's choice on the embeddings.

What the studies of long-tailed recognition vary, as in Kang et al. 2020, "Decoupling Representation
and Classifier", https://arxiv.org/abs/1910.09217.
"""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.geometry import Geometry
from vmf_embeddings.heads.base import Head
from vmf_embeddings.losses.base import Loss
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.class_parameters import known_classes
from vmf_embeddings.methods.precision import full_precision

log = logging.getLogger(__name__)


class Classifier(Method):
    """Logits of a head under a loss; priors of the loss never reach a prediction.

    Args:
        arch: the backbone. Its temperature is not read: the scale of the logits is the head's.
        head: makes the head from `n_classes` and `dim`.
        loss: on logits.
        posthoc_tau: t of post-hoc logit adjustment (Menon et al. 2021, https://arxiv.org/abs/2007.07314):
            predictions are those of z - t log pi; 0 = none.
    """

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
                "method.params.posthoc_tau=%g under loss=%s: the log frequency of the classes is "
                "taken out twice, in training by the loss and again in predictions. Use one of "
                "them: method.params.posthoc_tau=0, or loss=ce",
                *(posthoc_tau, loss.name),
            )

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels [B] or shares [B, C] -> mean loss in nats, scalar."""
        return self.objective(self.classifier(embeddings), labels, features=embeddings)

    @full_precision
    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> logits [B, C], scaled, without what the loss adds in training."""
        logits = self.objective.for_prediction(self.classifier(embeddings))
        return logits if self.log_prior is None else logits - self.posthoc_tau * self.log_prior

    @full_precision
    def unadjusted_logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> logits [B, C] of the head, scaled."""
        return self.classifier(embeddings)

    @property
    def geometry(self) -> Geometry:
        """The head's: cosine where it looks at angles, else Euclidean."""
        return self.classifier.geometry

    @property
    def uses_norm(self) -> bool:
        """Whether the head's logits hang on how long embeddings are."""
        return self.classifier.uses_norm

    @property
    def class_weights(self) -> Tensor | None:
        """[C, D] of the head, or None where it has none in the space of the embeddings."""
        return self.classifier.weight

    @property
    def temperature(self) -> Tensor:
        """1 / scale of the head, scalar."""
        return 1 / self.classifier.scale.to(next(self.parameters(), torch.ones(())))

    @property
    def second_stage(self) -> str | None:
        """The mode that the head wants, where it needs a trained run."""
        return self.classifier.second_stage

    @property
    def uses_prior(self) -> bool:
        """Whether the loss adds the log frequency of the classes."""
        return self.objective.uses_prior

    def status(self) -> dict[str, float]:
        """The temperature, where the head has one."""
        if not self.classifier.has_scale:
            return {}
        return {"temperature": float(self.temperature.detach())}

    def undecayed_parameters(self) -> list[torch.nn.Parameter]:
        """The head's."""
        return self.classifier.undecayed_parameters()

    def set_class_counts(self, class_counts: Tensor) -> None:
        """Hands the images per class [C] to the loss and to the post-hoc adjustment."""
        if self.objective.needs_class_counts or self.log_prior is not None:
            self._refuse_other_classes(class_counts)
        self.objective.prepare(class_counts)
        if self.log_prior is not None:
            frequencies = class_counts.double() / class_counts.sum()
            self.log_prior.copy_(frequencies.log())

    def _refuse_other_classes(self, class_counts: Tensor) -> None:
        if len(class_counts) != self.classifier.n_classes:
            raise ValueError(
                f"the training split counts images of {len(class_counts)} classes, the head has "
                f"{self.classifier.n_classes}; say arch.params.n_classes=null."
            )

    def begin_epoch(self, epoch: int) -> None:
        """Tells the loss, whose weights may begin late."""
        self.objective.begin_epoch(epoch)
