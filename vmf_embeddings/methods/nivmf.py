"""Softmax over expected likelihoods of images under classes that are stretched in every coordinate.

Kirchhof, Roth, Akata, Kasneci 2022, "A Non-isotropic Probabilistic Take on Proxy-based Deep Metric
Learning", https://arxiv.org/abs/2207.03784 (EL-nivMF): images are von Mises-Fisher distributions,
classes non-isotropic ones. What its two programs compute is no density (`directional.nivmf`); here
it is the exact one.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from vmf_embeddings import directional
from vmf_embeddings.archs.base import Arch
from vmf_embeddings.geometry import ExpectedLikelihood, VonMisesFisher
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.nivmf_cross_entropy import nivmf_cross_entropy
from vmf_embeddings.methods.precision import full_precision
from vmf_embeddings.methods.vmf_concentration import elk_confidence
from vmf_embeddings.methods.vmf_method import VMFMethod


class NivMF(VMFMethod):
    """Cross-entropy of beta log 1/S sum_s p_c(x_s), x_s draws of the image, p_c of the class.

    p_c is the non-isotropic distribution of direction mu_c and scales k_ci = |w_c| exp(s_ci - mean
    over i of s_ci), w_c = kappa_c mu_c the class weights. At the start s is 0, and p_c the von
    Mises-Fisher distribution of w_c.

    Args:
        arch: the backbone; `arch.params.init_temp` is the log temperature.
        n_samples: S, draws of each image, in the loss and in predictions, >= 1.
        scales_lr_factor: learning rate of s over that of the run, >= 0; 0 leaves classes isotropic.
        kappa_init: "exact" or "reference" (2021), see `vmf_start`.
        image_confidence: initial mean cosine of the images, in (0, 1); None = that of the classes,
            `arch.params.kappa_confidence`. "auto" there is as in `method=elk`.
        kappa_learning_rate: see `VMFMethod`.
    """

    def __init__(
        self,
        arch: Arch,
        n_samples: int,
        scales_lr_factor: float,
        kappa_init: str,
        image_confidence: float | None,
        kappa_learning_rate: float | None = None,  # older runs do not name it
    ) -> None:
        super().__init__(arch, kappa_init, image_confidence, kappa_learning_rate, elk_confidence)
        if n_samples < 1:
            raise ValueError(f"method.params.n_samples must be at least 1, got {n_samples}.")
        if not scales_lr_factor >= 0:
            raise ValueError(
                f"method.params.scales_lr_factor must be >= 0, got {scales_lr_factor}."
            )
        self.n_samples, self.scales_lr_factor = n_samples, scales_lr_factor
        self.log_scales = nn.Parameter(torch.zeros_like(self.class_parameters.weight))

    def class_distributions(self) -> tuple[Tensor, Tensor]:
        """Directions mu [C, D] and scales k [C, D] of the classes."""
        kappa, mu = VonMisesFisher.split(self.class_parameters.vectors)
        centred = self.log_scales - self.log_scales.mean(-1, keepdim=True)
        return mu, kappa[:, None] * centred.exp()

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels [B] -> mean cross-entropy in nats, by new random draws."""
        compute = self._loss
        if torch.compiler.is_compiling():  # it draws until every proposal was accepted
            compute = torch.compiler.disable(compute)
        return compute(embeddings, labels)

    def _loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        draws = VonMisesFisher().sample(embeddings, self.n_samples, gradient=True)
        return nivmf_cross_entropy(
            draws, *self.class_distributions(), labels, self.class_parameters.beta
        )

    @full_precision
    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> logits [B, C] by new random draws; no gradient."""
        with torch.no_grad():
            return self._logits(embeddings)

    def _logits(self, embeddings: Tensor) -> Tensor:
        draws = VonMisesFisher().sample(embeddings, self.n_samples, gradient=False)
        log_prob = directional.nivmf_log_prob(draws.flatten(0, 1), *self.class_distributions())
        of_draws = log_prob.view(*draws.shape[:2], -1)
        return self.class_parameters.beta * (of_draws.logsumexp(0) - math.log(self.n_samples))

    def sharded_parameters(self) -> list[str]:
        """None: see `Method.sharded_parameters`."""
        return Method.sharded_parameters(self)

    @full_precision
    def predict_without_draws(self, embeddings: Tensor) -> Tensor:
        """Softmax of beta log p_c at the direction of the image [B, C], in place of its draws."""
        _, mu = VonMisesFisher.split(embeddings)
        log_prob = directional.nivmf_log_prob(mu, *self.class_distributions())
        return (self.class_parameters.beta * log_prob).softmax(-1)

    @property
    def geometry(self) -> ExpectedLikelihood:
        """Embeddings are compared by the expected likelihood of their distributions."""
        return ExpectedLikelihood()

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """Also the log scales s, with their own learning rate and no weight decay."""
        rate = {"lr_factor": self.scales_lr_factor, "lr_option": "method.params.scales_lr_factor"}
        scales = {"params": [self.log_scales], **rate, "weight_decay": 0.0}
        return [*super().extra_param_groups(), scales]
