"""Base of methods whose embeddings and class weights are von Mises-Fisher parameters, kappa mu.

The initial concentrations follow Scott, Gallagher, Mozer 2021, https://arxiv.org/abs/2103.15718.
"""

import logging
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.geometry import kappa_mu
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.class_parameters import ClassParameters
from vmf_embeddings.methods.vmf_concentration import StartRule, start_confidences
from vmf_embeddings.methods.vmf_start import class_weight_std, initial_kappa, scale_of_arch

logger = logging.getLogger(__name__)

LARGEST_CHANGE = math.log(1e4)  # of the factor of images: Adam would raise it for ever


class VMFMethod(Method):
    """Embeddings kappa mu are parameters of von Mises-Fisher distributions; the norm is kappa.

    Args:
        arch: the backbone.
        kappa_init: "exact" or "reference" (2021), see `vmf_start`.
        image_confidence: initial mean cosine of the images, in (0, 1); None = that of the classes,
            `arch.params.kappa_confidence`.
        kappa_learning_rate: None = the concentration of a class is the length of its weight vector,
            as published. A number > 0: directions and log concentrations of the classes are
            parameters of their own, and log concentrations, and the log of the factor of all
            embeddings, learn at this rate.
        rule: what `arch.params.kappa_confidence=auto` means; None = `automatic_confidence`.
    """

    uses_vmf = True

    def __init__(
        self,
        arch: Arch,
        kappa_init: str,
        image_confidence: float | None,
        kappa_learning_rate: float | None,
        rule: StartRule | None = None,
    ) -> None:
        super().__init__(arch)
        if kappa_learning_rate is not None and not kappa_learning_rate > 0:
            raise ValueError(
                "method.params.kappa_learning_rate must be > 0, or null for concentrations that "
                f"are the lengths of the class weights, got {kappa_learning_rate}."
            )
        self.kappa_learning_rate = kappa_learning_rate
        learned = kappa_learning_rate is not None
        self.kappa_init = kappa_init
        spec = arch.class_spec
        self.confidences = start_confidences(spec, image_confidence, rule)
        self.class_parameters = ClassParameters(
            spec, self._start_classes, has_temperature=True, separate_lengths=learned
        )
        self.kappa_scale: Tensor
        self.register_buffer("kappa_scale", torch.ones(()))
        self.log_scale_change = nn.Parameter(torch.zeros(())) if learned else None

    @torch.no_grad()
    def _start_classes(self, weights: Tensor) -> None:
        """Fills class weights [C, D] with kappa times mu, at the start of training.

        A number as confidence: normal coordinates, as in the paper. "auto": directions as of any
        linear layer of the backbone, all with the same kappa.
        """
        spec, confidence = self.arch.class_spec, self.confidences.classes
        if spec.kappa_confidence != "auto":
            std = class_weight_std(confidence, spec.embedding_dim, self.kappa_init)
            nn.init.normal_(weights, 0.0, std)
            return
        self.arch.init_class_weights(weights)
        kappa = initial_kappa(confidence, spec.embedding_dim, self.kappa_init)
        weights.mul_(kappa / torch.linalg.vector_norm(weights, dim=-1, keepdim=True))

    def embed(self, images: Tensor) -> Tensor:
        """Images [B, ch, H, W] -> kappa times mu [B, D], coordinates of at most 1e15."""
        return kappa_mu(super().embed(images), self.image_scale)

    @property
    def image_scale(self) -> Tensor:
        """Factor of the network's output: set before training, and learned if that is asked."""
        if self.log_scale_change is None:
            return self.kappa_scale
        return self.kappa_scale * self.log_scale_change.clamp_max(LARGEST_CHANGE).exp()

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """One group, if concentrations learn apart: their logs, without weight decay."""
        if self.kappa_learning_rate is None:
            return []
        logs = [self.class_parameters.log_length, self.log_scale_change]
        return [{"params": logs, "lr": self.kappa_learning_rate, "weight_decay": 0.0}]

    def sharded_parameters(self) -> list[str]:
        """The class weights, and log concentrations that are parameters of their own."""
        return [f"class_parameters.{name}" for name in self.class_parameters.rows_of_classes]

    @torch.no_grad()
    def class_kappas(self) -> Tensor:
        """Concentrations of the classes [C], the norms of their weights."""
        return torch.linalg.vector_norm(self.class_parameters.vectors, dim=-1)

    def status(self) -> dict[str, float]:
        """Temperature, scale of the embeddings; mean, least, largest concentration of classes."""
        kappas = self.class_kappas()
        return {
            "temperature": float(self.temperature.detach()),
            "kappa_scale": float(self.image_scale.detach()),
            "kappa": float(kappas.mean()),
            "kappa_min": float(kappas.min()),
            "kappa_max": float(kappas.max()),
        }

    @torch.no_grad()
    def init_from_data(self, batches: Callable[[], Iterable[Tensor]]) -> None:
        """Sets the scale of the embeddings from one pass over the training images."""
        confidence = self.confidences.images
        self.kappa_scale.fill_(scale_of_arch(self.arch, batches(), confidence, self.kappa_init))
        logger.info("Set z-kappa-mult: %.4f", self.kappa_scale)
        if self.arch.class_spec.kappa_confidence == "auto":
            logger.info("arch.params.kappa_confidence=auto: %s", self.confidences)

    def from_reference_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Loads a 2021 checkpoint in place, the scale from `z_kappa_mult` or `z_mult`."""
        super().from_reference_checkpoint(checkpoint)
        scale = checkpoint.get("z_kappa_mult", checkpoint.get("z_mult"))
        if scale is None:
            raise ValueError(
                "The checkpoint has neither z_kappa_mult nor z_mult: put the number after "
                "'Set z-kappa-mult' in the log of its training under z_kappa_mult."
            )
        self.kappa_scale.fill_(float(scale))
