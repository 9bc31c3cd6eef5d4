"""FSGL: two linear classifiers on mixed images, and a consistency loss of two mixed views.

FSGL (https://github.com/ZY-IMU-CV/FSGL): the loss of GLMC (Du et al. 2023,
https://arxiv.org/abs/2305.08661, section 3) on scaled features; `feature_scaling=none` is
GLMC.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.geometry import Euclidean, unit_vectors
from vmf_embeddings.heads.linear import LinearHead
from vmf_embeddings.methods.base import BatchLayout, Method
from vmf_embeddings.methods.class_parameters import known_classes
from vmf_embeddings.methods.mixing import mix_views
from vmf_embeddings.methods.precision import full_precision

SCALED_INPUTS = ("ce", "ce_cb", "proj")
REBALANCE = ("label_weights", "balanced_softmax")
INITIAL_WEIGHTS = ("torch", "kaiming")
PERTURB_LOSSES = ("ce", "full")


def cumulative_alpha(epoch: int, n_epochs: int) -> float:
    """Weight of the unweighted classifier, 1 - (e/E)^2; the re-weighted one has 1 minus that.

    Args:
        epoch: e, from 0.
        n_epochs: E >= 1.

    Returns:
        1 at epoch 0, 1 - ((E-1)/E)^2 at the last.

    Example:
        >>> [cumulative_alpha(epoch, 4) for epoch in range(4)]
        [1.0, 0.9375, 0.75, 0.4375]
    """
    return 1 - (epoch / n_epochs) ** 2


def label_weights(class_counts: Tensor, power: float) -> Tensor:
    """Factor of the soft labels of each class, C n_k^-u / sum_j n_j^-u.

    Args:
        class_counts: n, images per class [C], >= 1.
        power: u >= 0; 0 gives 1 for all.

    Returns:
        [C] in float64, of mean 1.

    Example:
        >>> label_weights(torch.tensor([30, 10]), 1.0)
        tensor([0.5000, 1.5000], dtype=torch.float64)
    """
    normalised = (class_counts.double().log() * -power).softmax(0)
    return len(class_counts) * normalised


def consistency_loss(predicted: tuple[Tensor, Tensor], projected: tuple[Tensor, Tensor]) -> Tensor:
    """SimSiam loss of two views: mean of -cos(p_g, h_l) - cos(p_l, h_g), no gradient through h.

    Chen and He 2021, https://arxiv.org/abs/2011.10566.

    Args:
        predicted: p of the global and of the local view, [B, H] each.
        projected: h of the global and of the local view, [B, H] each.

    Returns:
        Scalar in [-2, 2].

    Example:
        >>> p, h = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> consistency_loss((p, p), (p, h))
        tensor(-1.)
    """
    targets = unit_vectors(torch.cat(projected[::-1]).detach())
    return (unit_vectors(torch.cat(predicted)) * targets).sum() / -len(predicted[0])


class FSGL(Method):
    """Loss L = alpha A + (1 - alpha) R + eta S on two mixtures of every pair of images.

    A is the cross-entropy of the classifier `fc` with the mixed labels, R that of `fc_cb` with
    re-weighted mixed labels, S the consistency loss of the two mixtures. In training,
    `feature_scaling` scales their input features by the mixed labels. Predictions are those of
    `fc_cb` on unscaled features.

    Args:
        arch: the backbone; its embeddings are the features.
        beta: lambda of the mixtures comes from Beta(beta, beta), > 0.
        adjust_lambda: whether labels of the local mixture use the area of the clipped box.
        label_weighting: u >= 0 of the labels in R, see `label_weights`.
        rebalance: R is the cross-entropy with weighted labels ("label_weights"), or of the logits
            plus log class frequencies, with the mixed labels ("balanced_softmax").
        init: weights of the linear layers, PyTorch's default ("torch") or from N(0, 2 / fan_in)
            ("kaiming").
        contrast_weight: eta >= 0.
        projection_dim: width of projection and predictor, >= 1.
        apply_to: layers with scaled input features: "ce" (`fc`), "ce_cb" (`fc_cb`), "proj".
        sam_perturb_loss: loss of SAM's first pass, "ce" (without S) or "full".
    """

    batch_layout: ClassVar[BatchLayout] = BatchLayout(views=2, paired=True)
    needs_class_counts: ClassVar[bool] = True
    """Whether `set_class_counts` must be called: R's labels are weighted by the class sizes."""
    takes_soft_labels: ClassVar[bool] = True
    needs_n_epochs: ClassVar[bool] = True
    """Whether `configure` needs the number of epochs: alpha depends on it."""
    instead_of: ClassVar[dict[str, str]] = {
        "loss": "method.params.rebalance=balanced_softmax for balanced softmax in the classifier "
        "that predicts"
    }

    label_weights: Tensor
    log_frequencies: Tensor | None

    def __init__(
        self,
        arch: Arch,
        beta: float,
        adjust_lambda: bool,
        label_weighting: float,
        contrast_weight: float,
        rebalance: str,
        init: str,
        projection_dim: int,
        apply_to: Sequence[str],
        sam_perturb_loss: str,
    ) -> None:
        super().__init__(arch)
        self.beta, self.adjust_lambda = _above_zero("beta", beta), adjust_lambda
        self.label_weighting = _not_negative("label_weighting", label_weighting)
        self.contrast_weight = _not_negative("contrast_weight", contrast_weight)
        self.apply_to = _among("apply_to", apply_to, SCALED_INPUTS)
        self.sam_perturb_loss = _among("sam_perturb_loss", [sam_perturb_loss], PERTURB_LOSSES)[0]
        n_classes, dim = known_classes(arch.class_spec), arch.class_spec.embedding_dim
        self.fc = LinearHead(n_classes, dim, bias=True)
        self.fc_cb = LinearHead(n_classes, dim, bias=True)
        width = int(_above_zero("projection_dim", projection_dim))
        self.projection, self.predictor = nn.Linear(dim, width), nn.Linear(width, width)
        if _among("init", [init], INITIAL_WEIGHTS)[0] == "kaiming":
            for layer in (self.fc, self.fc_cb, self.projection, self.predictor):
                nn.init.kaiming_normal_(layer.weight)
        self.register_buffer("label_weights", torch.ones(n_classes))
        has_prior = _among("rebalance", [rebalance], REBALANCE)[0] == "balanced_softmax"
        self.register_buffer("log_frequencies", torch.zeros(n_classes) if has_prior else None)
        self.n_epochs: int | None = None
        self.alpha = 1.0

    def configure(self, *, margin_warmup_epochs: int, n_epochs: int | None = None) -> None:
        """Stores the number of epochs, over which alpha decreases."""
        self.n_epochs = n_epochs

    def set_class_counts(self, class_counts: Tensor) -> None:
        """Computes the weights of the labels from the images per class [C].

        Raises:
            ValueError: the number of classes differs from the classifiers', or one has no image.
        """
        if len(class_counts) != self.fc.n_classes or not bool((class_counts > 0).all()):
            raise ValueError(
                f"method={self.name} weights {self.fc.n_classes} classes by their sizes, but the "
                f"training split has images of {int((class_counts > 0).sum())}; say "
                "arch.params.n_classes=null, and leave every class at least one image."
            )
        if self.log_frequencies is None:
            self.label_weights.copy_(label_weights(class_counts, self.label_weighting))
        else:
            self.log_frequencies.copy_((class_counts / class_counts.sum()).log())

    def begin_epoch(self, epoch: int) -> None:
        """Sets alpha, the weight of `fc`, for this epoch."""
        if self.n_epochs is None:
            raise ValueError(
                f"method={self.name} needs configure(n_epochs=…), or vmf.objective(…, "
                "n_epochs=…), before an epoch."
            )
        self.alpha = cumulative_alpha(epoch, self.n_epochs)

    @property
    def needs_images(self) -> bool:
        """True: images are mixed with one another before the backbone sees them."""
        return True

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        """Batch of `mix_views`: "examples" [2B, 2, ch, H, W], "ids" [2B] -> loss, scalar."""
        return self._mixed_loss(batch, self.contrast_weight)

    def perturb_loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Loss of SAM's first pass: alpha A + (1 - alpha) R, or the whole loss, scalar."""
        is_full = self.sam_perturb_loss == "full"
        return self._mixed_loss(batch, self.contrast_weight if is_full else 0.0)

    def _mixed_loss(self, batch: dict[str, Tensor], contrast_weight: float) -> Tensor:
        mixtures = mix_views(
            batch["examples"],
            batch["ids"],
            self.fc.n_classes,
            self.beta,
            adjust_lambda=self.adjust_lambda,
        )
        features = [self.embed(mixture.images) for mixture in mixtures]
        return self.objective(*features, *(m.labels for m in mixtures), weight=contrast_weight)

    def embedding_loss(self, embeddings: Tensor, labels: Tensor, **context: Any) -> Tensor:
        """The loss of a training step, from embeddings of the two mixtures of `mix_views`.

        Args:
            embeddings: of both mixtures [B, 2, D]; or of single images [B, D], which gives
                `loss`, alpha A + (1 - alpha) R.
            labels: soft labels [B, 2, C]; for single images, classes [B] or soft labels [B, C].
            **context: must be empty.

        Returns:
            Scalar.
        """
        if embeddings.ndim == 2:
            return self.loss(embeddings, labels, **context)
        features, soft = embeddings.unbind(1), labels.unbind(1)
        return self.objective(*features, *soft, weight=self.contrast_weight, **context)

    @full_precision
    def objective(
        self, whole: Tensor, local: Tensor, y_whole: Tensor, y_local: Tensor, *, weight: float
    ) -> Tensor:
        """The loss of two mixtures.

        Args:
            whole: features of the MixUp images [B, D], not scaled.
            local: features of the CutMix images [B, D], not scaled.
            y_whole: soft labels of the MixUp images [B, C].
            y_local: soft labels of the CutMix images [B, C].
            weight: eta.

        Returns:
            Scalar: nats, plus eta times a number in [-2, 2].
        """
        both, labels = torch.cat([whole, local]), torch.cat([y_whole, y_local])
        projected = self.projection(self._scaled("proj", both, labels))
        predicted, projected = (x.chunk(2) for x in (self.predictor(projected), projected))
        return 2 * self.loss(both, labels) + weight * consistency_loss(predicted, projected)

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Computes alpha A + (1 - alpha) R of one view.

        Args:
            embeddings: unscaled features [B, D]; scaled here in training mode.
            labels: classes [B] or soft labels [B, C].

        Returns:
            Mean in nats, scalar.
        """
        soft = labels if labels.is_floating_point() else one_hot(labels, self.fc.n_classes)
        soft = soft.to(embeddings.dtype)
        plain = self.fc(self._scaled("ce", embeddings, soft))
        balanced = self.fc_cb(self._scaled("ce_cb", embeddings, soft))
        if self.log_frequencies is not None:
            balanced = balanced + self.log_frequencies.to(balanced)
        re_weighted = soft * ((1 - self.alpha) * self.label_weights).to(soft.dtype)
        targets = torch.stack([self.alpha * soft, re_weighted])
        log_probabilities = torch.stack([plain, balanced]).log_softmax(-1)
        return (targets * log_probabilities).sum() / -len(soft)

    def _scaled(self, layer: str, features: Tensor, labels: Tensor) -> Tensor:
        """Input features of a layer: scaled if `apply_to` names the layer."""
        return self.scale_features(features, labels) if layer in self.apply_to else features

    @full_precision
    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> logits [B, C] of the re-weighted classifier on unscaled features."""
        return self.fc_cb(embeddings)

    @property
    def uses_prior(self) -> bool:
        """Whether log class frequencies are added to the logits of the second classifier."""
        return self.log_frequencies is not None

    @property
    def geometry(self) -> Euclidean:
        """Embeddings are compared by their Euclidean distance."""
        return Euclidean()

    @property
    def class_weights(self) -> Tensor:
        """Class weights of `fc_cb`, which predicts, [C, D]."""
        return self.fc_cb.weight

    @property
    def linear_head(self) -> LinearHead:
        """The re-weighted classifier `fc_cb`, which predicts."""
        return self.fc_cb

    def status(self) -> dict[str, float]:
        """The weight alpha of the unweighted classifier."""
        return {"alpha": self.alpha}

    def all_class_weights(self) -> list[Tensor]:
        """Class weights of both classifiers."""
        return [self.fc.weight, self.fc_cb.weight]


def _above_zero(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"method.params.{name} must be > 0, got {value}.")
    return value


def _not_negative(name: str, value: float) -> float:
    if not value >= 0:
        raise ValueError(f"method.params.{name} must be >= 0, got {value}.")
    return value


def _among(name: str, values: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    if not set(values) <= set(known):
        raise ValueError(f"method.params.{name}: expected of {', '.join(known)}, got {values}.")
    return tuple(values)
