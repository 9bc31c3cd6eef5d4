"""Base class of the criteria of deep metric learning: a loss, its parameters, learning rates."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from vmf_embeddings.geometry import Cosine, Geometry, unit_vectors
from vmf_embeddings.miners.base import MaskedTriplets, Triplets

VARIANTS = ("standard", "reference")


class Criterion(nn.Module, ABC):
    """Embeddings [B, D] and labels [B] -> mean loss.

    A subclass implements `forward`, which calls a pure function with its parameters, and `build`
    if it has trainable parameters. Inputs must be float32 or wider: methods call it inside
    `@full_precision`.
    """

    takes: ClassVar[Literal["batch", "triplets"]] = "batch"
    """Whether the loss is over the whole batch, or over triplets: a miner's, else all there are."""
    allowed_miners: ClassVar[tuple[str, ...] | None] = ()
    """Names of the miners it works with; () = none, None = any."""
    takes_masks: ClassVar[bool] = False
    """Whether `triplets` may be `MaskedTriplets`, for which the host need not wait for a GPU."""
    normalizes: ClassVar[bool] = False
    """Whether `forward` normalises the embeddings itself."""
    takes_shard: ClassVar[bool] = False
    """Whether `forward` takes `shard=`: its `proxies` may then be those of some classes only, the
    embeddings are of the whole batch, and the loss is that of the classes of all processes."""
    needs_features: ClassVar[bool] = False
    """Whether `forward` needs `features=`, the input [B, F] of the embedding layer."""
    takes_memory: ClassVar[bool] = False
    """Whether `forward` takes `n_anchors=`: the first rows are anchors, and the others, of earlier
    batches, are rows that anchors are compared with."""
    not_on_prefixes: ClassVar[str | None] = None
    """Why the loss means nothing on the first coordinates of an embedding; None = it does."""
    min_dim: ClassVar[int] = 1
    """The smallest dimension of embeddings: 2 for densities on the sphere."""
    takes_all_triplets: ClassVar[bool] = False
    """Whether it takes all triplets, of which there are B^3, where no miner chooses some."""

    views: int = 1
    """Views of every image in a batch. Above 1 the other views of an image are its only positives,
    and the method passes rows [B V, D] with the numbers of images as labels."""
    geometry: Geometry = Cosine()
    """How embeddings are compared; with a cosine, the method passes unit vectors."""
    image_confidence: float | None = None
    """Mean cosine, in (0, 1), with which distributions kappa mu start: the method then sets the
    buffer `kappa_scale`, the factor of the embeddings; None = they are no distributions."""

    @property
    def name(self) -> str:
        """The name of the criterion is the name of its file."""
        return type(self).__module__.rpartition(".")[2]

    def build(  # noqa: B027 - most have no parameters
        self, n_classes: int, dim: int, n_features: int | None = None
    ) -> None:
        """Creates the parameters; called once, before training or loading. Default: none.

        Args:
            n_classes: C, of the training split.
            dim: D, length of an embedding.
            n_features: F, width of the input of the embedding layer; None if unknown.
        """

    @abstractmethod
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: Triplets | MaskedTriplets | None = None,
        **context: Any,
    ) -> Tensor:
        """The mean loss of a batch.

        Args:
            embeddings: [B, D]; of norm 1 if the geometry is the cosine, unless `normalizes`.
            labels: classes [B], 0..C-1.
            triplets: rows chosen by a miner, [T] each, or masked ones for a criterion that
                `takes_masks`; None = no miner, the whole batch.
            **context: other inputs of a training step, such as `features` [B, F], a `shard` of
                the classes for a criterion that `takes_shard`, or `n_anchors` for one that
                `takes_memory`.

        Returns:
            Scalar.
        """

    def logits(self, embeddings: Tensor) -> Tensor | None:
        """Embeddings [B, D] -> logits of the training classes [B, C]; None if there are none."""
        return None

    def prepare_embeddings(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] of any norm -> [B, D] as `forward`, `logits` and miners take them.

        They become unit vectors under a cosine geometry, unless the criterion normalises itself.
        """
        if self.normalizes or self.uses_norm:
            return embeddings
        return unit_vectors(embeddings)

    def as_stored(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] as files and comparisons have them. Default: unchanged."""
        return embeddings

    @property
    def uses_norm(self) -> bool:
        """Whether the loss depends on the norm of an embedding; not with a cosine geometry."""
        return not isinstance(self.geometry, Cosine)

    @property
    def has_logits(self) -> bool:
        """Whether `logits` are not None."""
        return type(self).logits is not Criterion.logits

    @property
    def class_weights(self) -> Tensor | None:
        """One vector per class [C, D] in the space of the embeddings, or None."""
        return None

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """Parameter groups with their own learning rate; the others use that of the backbone.

        Returns:
            Dicts with `params` and either `lr` or `lr_factor`, which multiplies the learning rate
            of the run up to `lr_at_most`; `weight_decay` 0, as the loss does not depend on the
            norm of a proxy.
        """
        return []

    def check_miner(self, miner: str | None) -> None:
        """Refuses a miner that the criterion does not work with.

        Args:
            miner: its name; None = no miner.

        Raises:
            ValueError: the miner is not allowed; the message lists those that are.
        """
        if miner is None or self.allowed_miners is None or miner in self.allowed_miners:
            return
        fitting = " or ".join(("none", *self.allowed_miners))
        raise ValueError(
            f"criterion={self.name} does not work on the triplets of miner={miner}: say "
            f"miner={fitting}, or a criterion on triplets such as criterion=margin"
        )


PUBLISHED_LEARNING_RATE = 1e-5
"""Of Adam, for which factors of it were published."""


def init_proxies(*shape: int) -> nn.Parameter:
    """Proxies of the given shape, from N(0, 1) / 8 as in the published code of NIR."""
    return nn.Parameter(torch.randn(*shape) / 8)


def param_group(parameters: Any, **rate: float | str | None) -> list[dict[str, Any]]:
    """One parameter group for `extra_param_groups`: its own learning rate, no weight decay.

    Args:
        parameters: one parameter, or several.
        **rate: `lr` >= 0, or the keys of `factor_of_rate`; None = the learning rate of the run.
    """
    params = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    given = {key: value for key, value in rate.items() if value is not None}
    return [{"params": params, **given, "weight_decay": 0.0}]


def factor_of_rate(factor: float | str, published: float, option: str) -> dict[str, float | str]:
    """The keys of a parameter group whose learning rate is a factor times that of the run.

    Published factors are for Adam at 1e-5, where 2000 makes 0.02. At 1e-3 the same factor would
    make 20, so that "auto" keeps the published rate at larger rates of the run.

    Args:
        factor: >= 0; or "auto", the published one up to 1e-5, and above the rate that it makes
            there.
        published: the published factor, > 0.
        option: the key of the factor as it is typed on the command line, for messages.

    Returns:
        `lr_factor`, `lr_option` and, with "auto", `lr_at_most`.

    Raises:
        ValueError: the factor is neither.

    Example:
        >>> factor_of_rate("auto", 2000, "criterion.params.lr_factor")["lr_at_most"]
        0.02
    """
    if factor == "auto":
        at_most = published * PUBLISHED_LEARNING_RATE
        return {"lr_factor": published, "lr_at_most": at_most, "lr_option": option}
    if isinstance(factor, str) or not factor >= 0:
        raise ValueError(f"{option} must be >= 0 or auto, got {factor}.")
    return {"lr_factor": factor, "lr_option": option}


def at_least(least: float, *, above: bool = False, **parameters: float | None) -> None:
    """Refuses parameters that are not >= `least`, or not > `least` with `above`; None passes.

    Raises:
        ValueError: naming the key as it is typed on the command line.
    """
    for key, value in parameters.items():
        if value is not None and not (value > least if above else value >= least):
            raise ValueError(
                f"criterion.params.{key} must be {'>' if above else '>='} {least}, got {value}."
            )


def one_of(key: str, value: str, known: tuple[str, ...]) -> None:
    """Refuses a value of the parameter `key` that is not among the `known` ones.

    Raises:
        ValueError: listing the known values.
    """
    if value not in known:
        raise ValueError(f"criterion.params.{key} is one of {', '.join(known)}; got {value!r}.")
