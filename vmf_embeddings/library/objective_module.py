"""The module that `objective` returns: a loss on embeddings and what belongs to it."""

import math
from collections.abc import Iterable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from vmf_embeddings.argument_types import LARGEST, LEAST
from vmf_embeddings.criteria.base import Criterion
from vmf_embeddings.geometry import Geometry
from vmf_embeddings.heads.base import Head
from vmf_embeddings.library.objective_batch import check_batch, check_precision
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.parameter_groups import take_rate
from vmf_embeddings.methods.precision import widen


class Objective(nn.Module):
    """A loss on embeddings with its class weights, temperature and class probabilities.

    Made by `objective`. Loss and gradients equal those of a training with the same options.

    Args:
        method: built on `archs.given.GivenEmbeddings`.
        needs: of `objective_needs.NEEDS`, what must be given besides embeddings and labels.
    """

    CALLS: ClassVar[dict[str, str]] = {
        "class_counts": "class_counts=[images of class 0, …] or call set_class_counts",
        "class means": "call fit(embeddings, labels) with the training images' embeddings",
        "class weights": "call set_class_weights(weights) with those of the first stage",
    }
    """What `needs` lists and a call provides -> what to do."""

    def __init__(self, method: Method, needs: Iterable[str] = ()) -> None:
        super().__init__()
        self.method = method
        self.needs = tuple(needs)
        self._missing = {need for need in self.needs if need in self.CALLS}
        self.register_load_state_dict_post_hook(_restored)

    def forward(self, embeddings: Tensor, labels: Tensor, **context: Tensor) -> Tensor:
        """The mean loss of a batch.

        Args:
            embeddings: output of a network [B, D], of any length; float32, float64 where the
                objective is (`loss_fn.double()`), or half precision, which becomes float32.
            labels: classes [B] in 0..C-1, or soft labels [B, C] where the objective takes them.
            **context: tensors that some objectives need as well: `features` [B, F] (s2sd),
                `teacher_logits` [B, C] (dive).

        Returns:
            Scalar; nats where the objective is a log-likelihood.

        Raises:
            TypeError: embeddings or labels are not tensors.
            ValueError: shapes or class numbers do not fit, or something in `needs` was not given.
        """
        self._refuse_missing(self._missing)
        self._check_batch(embeddings, labels)
        for name in ("features", "teacher_logits"):
            if name in self.needs and name not in context:
                raise ValueError(
                    f"{self.method.name} needs {name}: loss_fn(embeddings, labels, {name}=…)"
                )
        others = {name: widen(value) for name, value in context.items()}
        return self.method.embedding_loss(self.embed(embeddings), labels, **others)

    def embed(self, embeddings: Tensor) -> Tensor:
        """Output of a network [B, D] -> embeddings [B, D] as `geometry` compares them.

        They differ for vMF objectives alone, whose `kappa_scale` multiplies them.

        Raises:
            ValueError: their type is not that of the objective's weights.
        """
        if not torch.compiler.is_compiling():
            check_precision(widen(embeddings), self._weights())
        return self.method.embed(embeddings)

    @torch.no_grad()
    def prepare(self, embeddings: Tensor | Iterable[Tensor]) -> Self:
        """Adapts starting values to the embeddings of an untrained network; optional.

        Training in this package does so before epoch 0. vMF objectives set `kappa_scale`, so that
        embeddings start with the mean cosine `kappa_confidence`; the others have nothing to set.

        Args:
            embeddings: output of the network for training images [N, D], or batches [b, D].

        Returns:
            Itself.
        """
        batches = embeddings.split(256) if isinstance(embeddings, Tensor) else list(embeddings)
        self.method.init_from_data(lambda: batches)
        return self

    def set_class_counts(self, class_counts: Tensor | Iterable[int]) -> Self:
        """Sets the number of training images per class, for objectives that balance classes.

        Args:
            class_counts: [C], whole numbers >= 1.

        Returns:
            Itself.
        """
        counts = torch.as_tensor(class_counts)
        classes = self.method.arch.class_spec.n_classes
        if counts.ndim != 1 or counts.is_floating_point() or len(counts) != classes:
            raise ValueError(
                f"class_counts: expected {classes} whole numbers, one per class, got "
                f"{list(counts.shape)} of {counts.dtype}"
            )
        self.method.set_class_counts(counts)
        if self.method.feature_scaling is not None:
            self.method.feature_scaling.prepare(counts)
        self._missing.discard("class_counts")
        return self

    @torch.no_grad()
    def set_class_weights(self, weights: Tensor, bias: Tensor | None = None) -> Self:
        """Copies class weights into the objective, such as those of a first training stage.

        Args:
            weights: [C, D].
            bias: [C]; None = the bias, where there is one, becomes 0.

        Returns:
            Itself.

        Raises:
            ValueError: the objective has no class weights or no bias, or the shapes differ.
        """
        own, own_bias = self.class_weights, getattr(self.head, "bias", None)
        if own is None or own.shape != weights.shape:
            raise ValueError(
                f"weights: {self.method.name} has class weights of shape "
                f"{None if own is None else list(own.shape)}, got {list(weights.shape)}"
            )
        if self.method.class_parameters is None:
            own.copy_(weights)
        else:
            self.method.class_parameters.set_vectors(weights)
        if own_bias is None and bias is not None:
            raise ValueError(f"bias: {self.method.name} has none; leave it out")
        if own_bias is not None:
            own_bias.copy_(torch.zeros_like(own_bias) if bias is None else bias)
        self._missing.discard("class weights")
        return self

    @torch.no_grad()
    def set_temperature(self, temperature: float) -> Self:
        """Sets the temperature, of objectives that have a log temperature tau.

        Args:
            temperature: exp(tau), in [1e-12, 1e12].

        Returns:
            Itself.

        Raises:
            ValueError: the temperature is out of range, or the objective has none.
        """
        parameters = self.method.class_parameters
        if parameters is None or parameters.tau is None:
            raise ValueError(
                f"temperature: {self.method.name} has none to set; scales of heads and criteria "
                "are options of theirs, as scale="
            )
        if not LEAST <= temperature <= LARGEST:
            raise ValueError(
                f"temperature: expected a number of {LEAST:g} to {LARGEST:g}, got {temperature}"
            )
        parameters.tau.fill_(math.log(temperature))
        return self

    def fit(self, embeddings: Tensor, labels: Tensor) -> Self:
        """Computes class means or densities of heads without gradients (ncm, vmf_bayes).

        Args:
            embeddings: of the training images [N, D].
            labels: [N] in 0..C-1; every class has an image.

        Returns:
            Itself.

        Raises:
            ValueError: the objective has no class means.
        """
        fit = getattr(self.head, "fit", None)
        if fit is None:
            raise ValueError(
                f"{self.method.name} learns by gradients; fit is for 'ncm' and 'vmf_bayes' alone"
            )
        self._check_batch(embeddings, labels)
        fit(self.embed(embeddings), labels)
        self._missing.discard("class means")
        return self

    def begin_epoch(self, epoch: int) -> None:
        """Sets the epoch, from 0, for objectives that change over the training."""
        self.method.begin_epoch(epoch)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Output of a network [B, D] -> logits [B, C], or [B, S, C] of S draws.

        Raises:
            ValueError: the objective has no classes, or its class weights are not set yet.
        """
        self._refuse_missing(self._missing - {"class_counts"})
        logits = self.method.logits(self.embed(embeddings))
        if logits is None:
            raise ValueError(f"{self.method.name} has no classes, so no logits")
        return logits

    def predict(self, embeddings: Tensor) -> Tensor:
        """Output of a network [B, D] -> class probabilities [B, C].

        Raises:
            ValueError: the objective has no classes, or its class weights are not set yet.
        """
        self._refuse_missing(self._missing - {"class_counts"})
        return self.method.predict(self.embed(embeddings))

    @property
    def head(self) -> Head | None:
        """The head, of objectives that have one (`head=…`)."""
        head = getattr(self.method, "classifier", None)
        return head if isinstance(head, Head) else None

    @property
    def criterion(self) -> Criterion | None:
        """The criterion, of objectives that have one; its parameters are its attributes."""
        criterion = getattr(self.method, "criterion", None)
        return criterion if isinstance(criterion, Criterion) else None

    @property
    def geometry(self) -> Geometry:
        """How embeddings trained with this objective are compared."""
        return self.method.geometry

    @property
    def class_weights(self) -> Tensor | None:
        """One vector per class [C, D], the parameter itself; None where there is none."""
        return self.method.class_weights

    @property
    def temperature(self) -> Tensor:
        """What similarities are divided by, > 0, scalar; 1 where the objective has none."""
        return self.method.temperature

    def status(self) -> dict[str, float]:
        """Numbers worth logging once an epoch, such as the temperature."""
        return self.method.status()

    def param_groups(self, lr: float, temp_lr: float | None = None) -> list[dict[str, Any]]:
        """Parameters in groups for a `torch.optim` optimizer, each with its learning rate.

        Args:
            lr: learning rate of all parameters but those for which the objective prescribes one;
                where it prescribes a factor, as for proxies, the group's rate is factor * lr.
            temp_lr: learning rate of a learned temperature; None = `lr`.

        Returns:
            Groups that hold every trainable parameter once; empty where there are none.
        """
        groups = self.method.param_groups(lr if temp_lr is None else temp_lr)
        for group in groups:
            group["lr"] = group.get("lr", take_rate(group, lr))
        return groups

    def _weights(self) -> Tensor | None:
        """A matrix that embeddings are multiplied by; None where there is none."""
        return next((p for p in self.method.parameters() if p.ndim > 1), None)

    def _refuse_missing(self, missing: set[str]) -> None:
        for need in sorted(missing):
            raise ValueError(f"{self.method.name} needs {need}: {self.CALLS[need]}")

    def _check_batch(self, embeddings: Tensor, labels: Tensor) -> None:
        spec = self.method.arch.class_spec
        n_classes = spec.n_classes if "n_classes" in self.needs else None
        soft = self.method.takes_soft_labels
        check_batch(embeddings, labels, spec.embedding_dim, n_classes, soft=soft)


def _restored(objective: nn.Module, _: Any) -> None:
    """After `load_state_dict`: class counts, means and weights came with the state."""
    assert isinstance(objective, Objective)
    objective._missing.clear()
