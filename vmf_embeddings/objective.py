"""Any objective of this package as a plain module for one's own training loop."""

from collections.abc import Iterable
from typing import Any, Self

import torch
from torch import Tensor, nn

from vmf_embeddings import catalogue
from vmf_embeddings.archs.base import ClassSpec
from vmf_embeddings.archs.identity import Identity
from vmf_embeddings.geometry import Geometry
from vmf_embeddings.methods.base import Method
from vmf_embeddings.objective_parts import GROUPS, compose


class Objective(nn.Module):
    """A loss on embeddings with all that belongs to it: class vectors, temperature, predictions.

    Made by `objective`; what it computes is what a training with the same options computes.

    Args:
        method: built on `archs.identity.Identity`.
    """

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, embeddings: Tensor, labels: Tensor, **context: Tensor) -> Tensor:
        """The mean loss of a batch.

        Args:
            embeddings: output of a network [B, D], of any length.
            labels: classes [B] in 0..C-1.
            **context: what single objectives need besides: `features` [B, F] (criterion s2sd),
                `teacher_logits` [B, C] (dive).

        Returns:
            Scalar; nats where the objective is a log-likelihood.
        """
        return self.method.embedding_loss(self.embed(embeddings), labels, **context)

    def embed(self, embeddings: Tensor) -> Tensor:
        """Output of a network [B, D] -> embeddings [B, D] as `geometry` compares them.

        They differ for vMF objectives alone, whose `kappa_scale` multiplies them.
        """
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
        """Tells how many training images each class has [C], to objectives that balance classes.

        Returns:
            Itself.
        """
        counts = torch.as_tensor(class_counts)
        self.method.set_class_counts(counts)
        if self.method.feature_scaling is not None:
            self.method.feature_scaling.prepare(counts)
        return self

    def begin_epoch(self, epoch: int) -> None:
        """Tells the epoch, from 0, to objectives that change over the training."""
        self.method.begin_epoch(epoch)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Output of a network [B, D] -> logits [B, C], or [B, S, C] of S draws.

        Raises:
            ValueError: the objective has no classes.
        """
        logits = self.method.logits(self.embed(embeddings))
        if logits is None:
            raise ValueError(f"{self.method.name} has no classes, so no logits")
        return logits

    def predict(self, embeddings: Tensor) -> Tensor:
        """Output of a network [B, D] -> class probabilities [B, C].

        Raises:
            ValueError: the objective has no classes.
        """
        return self.method.predict(self.embed(embeddings))

    @property
    def geometry(self) -> Geometry:
        """How embeddings are compared after this objective."""
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
            lr: of parameters that have no rate of their own; factors of it, as proxies have, are
                multiplied out.
            temp_lr: of a learned temperature; None = `lr`.

        Returns:
            Groups that hold every parameter once; none where the objective has no parameters.
        """
        groups = self.method.param_groups(lr if temp_lr is None else temp_lr)
        for group in groups:
            group["lr"] = group.get("lr", lr * group.pop("lr_factor", 1.0))
        return groups


def objectives() -> dict[str, str]:
    """Every name that `objective` takes -> what it is and its paper.

    A name that two groups have stands for the first of method, criterion, head, loss; the other is
    listed with its group in front, as `criterion/arcface`.
    """
    found: dict[str, str] = {}
    for group in GROUPS:
        for name in catalogue.names(group):
            key = f"{group}/{name}" if name in found else name
            found[key] = catalogue.summary(group, name)
    return found


def objective(
    name: str | type[nn.Module],
    *,
    embedding_dim: int,
    n_classes: int | None = None,
    n_features: int | None = None,
    n_epochs: int | None = None,
    class_counts: Tensor | Iterable[int] | None = None,
    **options: Any,
) -> Objective:
    """An objective by its name, with the defaults of the command line.

    Args:
        name: one of `objectives()`, or a subclass of `Method`, `Criterion`, `Head` or `Loss`.
        embedding_dim: D.
        n_classes: C; may be left out where nothing depends on it, as with triplet losses.
        n_features: F, width of what enters the embedding layer (criterion s2sd).
        n_epochs: length of the training, for objectives that change over it (fsgl).
        class_counts: training images per class [C], for objectives that balance classes.
        **options: parameters of the method, criterion, head or loss as in its yaml file; options of
            the groups it is put together from, as `miner="distance"` or
            `head={"name": "tvmf", "kappa": 4.0}`; and `learn_temp` (True here: an objective with a
            temperature learns it), `init_temp`, `kappa_confidence`.

    Returns:
        A module: `loss = objective(embeddings, labels)`.

    Raises:
        ValueError: unknown name or option, or a value out of its range.

    Example:
        >>> loss_fn = objective("arcface", embedding_dim=2, n_classes=3)
        >>> loss_fn(torch.eye(2), torch.tensor([0, 1])).shape
        torch.Size([])
    """
    composition = compose(name, options)
    if n_classes is None and composition.needs_n_classes:
        raise ValueError(f"objective {name!r} needs n_classes=C, the number of training classes")
    spec = ClassSpec(
        n_classes=1 if n_classes is None else n_classes,
        embedding_dim=embedding_dim,
        use_vmf=composition.method_class.uses_vmf,
        **composition.class_options,
    )
    method = composition.build(Identity(spec, n_features))
    method.configure(margin_warmup_epochs=0, n_epochs=n_epochs)
    made = Objective(method)
    return made if class_counts is None else made.set_class_counts(class_counts)
