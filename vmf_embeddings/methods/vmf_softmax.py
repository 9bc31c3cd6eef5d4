"""Softmax cross-entropy where images and classes are von Mises-Fisher distributions.

Scott, Gallagher, Mozer 2021, "von Mises-Fisher Loss: An Exploration of Embedding Geometries for
Supervised Learning", https://arxiv.org/abs/2103.15718, equation 8.
"""

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor

from vmf_embeddings import directional
from vmf_embeddings.archs.base import Arch
from vmf_embeddings.geometry import VonMisesFisher
from vmf_embeddings.methods.precision import full_precision
from vmf_embeddings.methods.sharded_losses import sharded_vmf_loss
from vmf_embeddings.methods.vmf_concentration import spread_cost
from vmf_embeddings.methods.vmf_method import VMFMethod
from vmf_embeddings.methods.vmf_prediction import (
    drawn_cosines,
    expected_logits,
    reference_drawn_cosines,
)
from vmf_embeddings.methods.vmf_start import initial_kappa

NORMALIZERS = ("exact", "approx")
PREDICTORS = {
    "exact": drawn_cosines,
    "reference": reference_drawn_cosines,
    "power": partial(drawn_cosines, sampler="power"),
}
ESTIMATORS = ("auto", "antithetic", "iid")


def vmf_softmax_loss(
    embeddings: Tensor,
    class_weights: Tensor,
    labels: Tensor,
    beta: Tensor,
    directions: Tensor,
    normalizer: str = "exact",
) -> Tensor:
    """Upper bound of the expected cross-entropy of beta z.w over the distributions of z and w.

    mean_s log sum_j C(|w_j|) / C(|w_j + beta z_s|) - beta A(|z|) A(|w_y|) cos(z, w_y): the class
    distributions are integrated in closed form inside the logarithm, those of the images by
    samples z_s outside it. Each logit is computed as one difference of log C, without the
    cancellation of subtracting two large values; the sum is a logsumexp and cannot overflow.

    Args:
        embeddings: kappa times mu of the images [B, D].
        class_weights: kappa times mu of the classes [C, D].
        labels: class of every image [B], 0..C-1.
        beta: inverse temperature, > 0, scalar.
        directions: unit samples z_s of the images' distributions [B, S, D], differentiable or not.
        normalizer: "exact" Bessel functions, or "approx" as in the paper.

    Returns:
        Mean over the batch in nats, scalar; about log C if all concentrations are small.

    Example:
        >>> w, y = 1e-3 * torch.eye(3), torch.tensor([0, 1])
        >>> loss = vmf_softmax_loss(w[:2], w, y, torch.tensor(0.1), torch.eye(3)[:2, None])
        >>> round(loss.item(), 2)  # log 3
        1.1
    """
    if normalizer == "exact":
        return directional.softmax_bound_of_draws(
            embeddings, class_weights, labels, beta, directions
        )
    delta = beta.square() + 2 * beta * (directions @ class_weights.T)  # |w + beta z|^2 - |w|^2
    logits = directional.log_normalizer_difference_approx(
        class_weights.square().sum(-1), delta, embeddings.shape[-1]
    )
    aligned = (_approximate_mean(embeddings) * _approximate_mean(class_weights[labels])).sum(-1)
    return (logits.logsumexp(-1).mean(-1) - beta * aligned).mean()


def _approximate_mean(vectors: Tensor) -> Tensor:
    """Kappa mu [B, D] -> means A(kappa) mu [B, D] of the distributions, by the paper's bounds."""
    kappa, mu = VonMisesFisher.split(vectors)
    return directional.mean_cosine_approx(kappa, vectors.shape[-1])[:, None] * mu


class VMFSoftmax(VMFMethod):
    """Softmax over the distributions of image and class, of draws of the image.

    Args:
        arch: the backbone.
        n_samples: samples per image, in the loss and in predictions, >= 1.
        normalizer: "exact" or "approx" (2021).
        vmf_sampler: "exact"; "reference" (2021: biased between kappa = 11 and 1.5 D); or "power":
            draws, in the loss and in predictions, from power spherical distributions of the same
            means, while log C and the expected alignment stay those of von Mises-Fisher ones.
        kappa_init: "exact" or "reference" (2021), see `vmf_start`.
        estimator: of the loss: "antithetic" pairs of samples, "iid" samples, or "auto": antithetic
            if `n_samples` is even, and `normalizer` and `vmf_sampler` are "exact". The expectation
            is the same; antithetic pairs have far less variance (see `directional.partition`).
        image_confidence: initial mean cosine of the images, in (0, 1); None = that of the classes,
            `arch.params.kappa_confidence`.
        kappa_learning_rate: see `VMFMethod`.
    """

    logs_as_in_2021 = True

    def __init__(
        self,
        arch: Arch,
        n_samples: int,
        normalizer: str,
        vmf_sampler: str,
        kappa_init: str,
        estimator: str = "auto",  # runs of version 0.1 do not name it
        image_confidence: float | None = None,  # nor this
        kappa_learning_rate: float | None = None,  # nor this
    ) -> None:
        super().__init__(arch, kappa_init, image_confidence, kappa_learning_rate)
        _check_choice("normalizer", normalizer, NORMALIZERS)
        _check_choice("vmf_sampler", vmf_sampler, PREDICTORS)
        if n_samples < 1:
            raise ValueError(f"method.params.n_samples must be at least 1, got {n_samples}.")
        _check_choice("estimator", estimator, ESTIMATORS)
        self.exact = normalizer == vmf_sampler == "exact"
        pairs_apply = self.exact and n_samples % 2 == 0
        if estimator == "antithetic" and not pairs_apply:
            raise ValueError(
                "method.params.estimator=antithetic needs an even n_samples and normalizer and "
                f"vmf_sampler exact, got {n_samples}, {normalizer} and {vmf_sampler}: say "
                "method.params.estimator=auto for pairs where they apply, or =iid."
            )
        if estimator == "auto":
            estimator = "antithetic" if pairs_apply else "iid"
        self.estimator = estimator
        self.n_samples, self.normalizer = n_samples, normalizer
        self.vmf_sampler = vmf_sampler

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels [B] -> mean bound in nats, scalar, by new random samples."""
        weights, beta = self.class_parameters.vectors, self.class_parameters.beta
        if self.class_shard is not None:
            arguments = (embeddings, weights, labels, beta, self.n_samples, self.estimator)
            return sharded_vmf_loss(self.class_shard, *arguments)
        if not self.exact:
            directions = self.draw(embeddings, gradient=True)
            return vmf_softmax_loss(embeddings, weights, labels, beta, directions, self.normalizer)
        return directional.softmax_bound(
            embeddings, weights, labels, beta, self.n_samples, estimator=self.estimator
        )

    @full_precision
    def logits(self, embeddings: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Embeddings [B, D] -> logits of new random samples [B, S, C]; no gradient.

        Of divided classes those of the own ones; all processes draw the same samples of images.
        """
        with torch.no_grad():
            directions = self.draw(embeddings, gradient=False, generator=generator)
            if generator is None and self.class_shard is not None:
                generator = self.class_shard.generator(embeddings.device)
            predict = PREDICTORS[self.vmf_sampler]
            return self.class_parameters.beta * predict(
                directions, self.class_parameters.vectors, generator
            )

    def predict_without_draws(self, embeddings: Tensor) -> Tensor:
        """Softmax of the expected logits [B, C]: a class has the same rank, not the same value.

        The mean of a softmax over draws (`predict`) is not the softmax of the mean.
        """
        weights, beta = self.class_parameters.vectors, self.class_parameters.beta
        return expected_logits(embeddings, weights, beta).softmax(-1)

    def draw(
        self, embeddings: Tensor, *, gradient: bool, generator: torch.Generator | None = None
    ) -> Tensor:
        """Unit samples [B, S, D] from the distributions with parameters `embeddings` [B, D]."""
        kappa, mu = VonMisesFisher.split(embeddings)
        draws = directional.sample(
            mu,
            kappa,
            self.n_samples,
            gradient=gradient,
            sampler=self.vmf_sampler,
            generator=generator,
        )
        return draws.transpose(0, 1)

    @property
    def geometry(self) -> VonMisesFisher:
        """Embeddings are compared by the expected cosine of their distributions."""
        return VonMisesFisher()

    @property
    def samples_classes(self) -> bool:
        """The loss can do with some of the classes, but for the approximations of 2021."""
        return self.exact

    def sharded_parameters(self) -> list[str]:
        """See `VMFMethod`.

        Raises:
            ValueError: the approximations of 2021 need all classes in every process.
        """
        if not self.exact:
            raise ValueError(
                "trainer.shard_classes=true needs method.params.normalizer=exact and "
                f"method.params.vmf_sampler=exact, got {self.normalizer} and {self.vmf_sampler}"
            )
        return super().sharded_parameters()

    def status(self) -> dict[str, float]:
        """Also `spread_cost`: nats that a class of mean concentration costs its images.

        Of images as sure as they started. A large cost holds the inverse temperature down, see
        `vmf_concentration`.
        """
        status, dim = super().status(), self.arch.class_spec.embedding_dim
        image = initial_kappa(self.confidences.images, dim, self.kappa_init)
        beta = float(self.class_parameters.beta.detach())
        cost = spread_cost(beta, status["kappa"], image, dim)
        return {**status, "spread_cost": cost}


def _check_choice(name: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ValueError(f"method.params.{name} must be one of {', '.join(known)}, got {value!r}.")
