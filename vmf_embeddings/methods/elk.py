"""Softmax over how alike the von Mises-Fisher distributions of image and class are, without draws.

Kirchhof, Roth, Akata, Kasneci 2022, "A Non-isotropic Probabilistic Take on Proxy-based Deep Metric
Learning", https://arxiv.org/abs/2207.03784, its isotropic form: logits are log expected likelihoods
of image and class over a temperature. Their code replaces the normaliser C_D by parabolas fitted to
two dimensions; here it is exact.
"""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from vmf_embeddings import directional
from vmf_embeddings.archs.base import Arch
from vmf_embeddings.directional.elk import expected_log_density
from vmf_embeddings.geometry import ExpectedLikelihood
from vmf_embeddings.methods.elk_cross_entropy import elk_cross_entropy
from vmf_embeddings.methods.precision import full_precision
from vmf_embeddings.methods.vmf_concentration import elk_confidence
from vmf_embeddings.methods.vmf_method import VMFMethod

# [B, D], [C, D] -> [B, C]; terms of the image alone are left out, which would cost digits
KERNELS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "elk": directional.relative_log_elk,
    "bhattacharyya": directional.log_bhattacharyya,
    "kl": expected_log_density,
}


class ELK(VMFMethod):
    """Cross-entropy of the kernel of image and class, in closed form.

    Args:
        arch: the backbone; `arch.params.init_temp` is the log temperature, 0 in the paper's code.
        kernel: "elk" (log expected likelihood), "bhattacharyya" (log Bhattacharyya coefficient) or
            "kl" (minus the Kullback-Leibler divergence of the image from the class).
        kappa_init: "exact" or "reference" (2021), see `vmf_start`.
        image_confidence: initial mean cosine of the images, in (0, 1); None = that of the classes,
            `arch.params.kappa_confidence`. "auto" there means at least 0.95 here, see
            `elk_confidence`.
        kappa_learning_rate: see `VMFMethod`.
    """

    def __init__(
        self,
        arch: Arch,
        kernel: str,
        kappa_init: str,
        image_confidence: float | None,
        kappa_learning_rate: float | None = None,  # older runs do not name it
    ) -> None:
        super().__init__(arch, kappa_init, image_confidence, kappa_learning_rate, elk_confidence)
        if kernel not in KERNELS:
            known = ", ".join(KERNELS)
            raise ValueError(f"method.params.kernel must be one of {known}, got {kernel!r}.")
        self.kernel = kernel

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels [B] -> mean cross-entropy in nats, scalar."""
        weights, beta = self.class_parameters.vectors, self.class_parameters.beta
        if self.class_shard is not None:
            shard, weights = self.class_shard.of_step(labels, weights)
            embeddings, beta = shard.sum_gradients(embeddings, beta)
            return shard.cross_entropy(beta * KERNELS[self.kernel](embeddings, weights), labels)
        if self.kernel == "elk":
            return elk_cross_entropy(embeddings, weights, labels, beta)
        return functional.cross_entropy(beta * KERNELS[self.kernel](embeddings, weights), labels)

    @full_precision
    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> logits [B, C]."""
        weights = self.class_parameters.vectors
        return self.class_parameters.beta * KERNELS[self.kernel](embeddings, weights)

    @property
    def geometry(self) -> ExpectedLikelihood:
        """Embeddings are compared by the expected likelihood of their distributions."""
        return ExpectedLikelihood()

    @property
    def samples_classes(self) -> bool:
        """The loss can do with some of the classes."""
        return True
