"""What every criterion of deep metric learning offers: a loss, its parameters and their rates."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from vmf_embeddings.geometry import Cosine, Geometry
from vmf_embeddings.miners.base import Triplets

VARIANTS = ("standard", "reference")


class Criterion(nn.Module, ABC):
    """Embeddings [B, D] and labels [B] -> mean loss.

    A new one writes a pure function and a `forward` that hands it the knobs; `build` where it has
    parameters. The mathematics wants float32 or wider: a method calls it inside `@full_precision`.
    """

    takes: ClassVar[Literal["batch", "triplets"]] = "batch"
    """Whether it looks at the whole batch, or at triplets: a miner's, or all that there are."""
    allowed_miners: ClassVar[tuple[str, ...] | None] = ()
    """Names of the miners that it works with; () = none, None = any."""
    normalizes: ClassVar[bool] = False
    """Whether it brings embeddings to length 1 itself."""
    needs_features: ClassVar[bool] = False
    """Whether `forward` needs what enters the backbone's last layer: `features=`, [B, F]."""

    geometry: Geometry = Cosine()
    """How embeddings are compared; under a cosine, the method hands over unit vectors."""

    @property
    def name(self) -> str:
        """The name of the criterion is the name of its file."""
        return type(self).__module__.rpartition(".")[2]

    def build(  # noqa: B027 - most have no parameters
        self, n_classes: int, dim: int, n_features: int | None = None
    ) -> None:
        """Makes the parameters; called once, before training or a checkpoint. Default: none.

        Args:
            n_classes: C, of the training split.
            dim: D, length of an embedding.
            n_features: F, width of what enters the backbone's last layer, where it is known.
        """

    @abstractmethod
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: Triplets | None = None,
        **context: Any,
    ) -> Tensor:
        """The mean loss of a batch.

        Args:
            embeddings: [B, D]; of length 1 where the geometry is the cosine, unless `normalizes`.
            labels: classes [B], 0..C-1.
            triplets: a miner's, [T] each; None = without miner, the whole batch.
            **context: what else a step knows, such as `features` [B, F].

        Returns:
            Scalar.
        """

    def logits(self, embeddings: Tensor) -> Tensor | None:
        """Embeddings [B, D] -> logits of the training classes [B, C]; None where it has none."""
        return None

    def prepare_embeddings(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] of any length as `forward`, `logits` and miners want them."""
        if self.normalizes or self.uses_norm:
            return embeddings
        return nn.functional.normalize(embeddings, dim=-1)

    @property
    def uses_norm(self) -> bool:
        """Whether the length of an embedding matters: under any geometry but the cosine."""
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
        """Groups of parameters with rates of their own; the others learn like the backbone.

        Returns:
            Dicts with `params` and either `lr_factor`, which multiplies the learning rate of the
            run, or `lr`; `weight_decay` 0, for lengths of proxies mean nothing.
        """
        return []

    def check_miner(self, miner: str | None) -> None:
        """Makes sure that it works with a miner.

        Args:
            miner: its name; None = without.

        Raises:
            ValueError: naming those that fit.
        """
        if miner is None or self.allowed_miners is None or miner in self.allowed_miners:
            return
        fitting = " or ".join(("none", *self.allowed_miners))
        raise ValueError(
            f"criterion={self.name} does not work on the triplets of miner={miner}: say "
            f"miner={fitting}, or a criterion on triplets such as criterion=margin"
        )


def init_proxies(*shape: int) -> nn.Parameter:
    """Proxies as the published code starts them: N(0, 1) / 8."""
    return nn.Parameter(torch.randn(*shape) / 8)


def param_group(parameters: Any, **rate: float | None) -> list[dict[str, Any]]:
    """One group, for `extra_param_groups`: a rate of its own, no weight decay.

    Args:
        parameters: one, or some.
        **rate: `lr` >= 0 or `lr_factor` >= 0; None = the rate of the run.
    """
    params = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    said = {key: value for key, value in rate.items() if value is not None}
    return [{"params": params, **said, "weight_decay": 0.0}]


def at_least(least: float, *, above: bool = False, **knobs: float | None) -> None:
    """Makes sure that knobs are numbers >= `least`, or > it where `above`; None passes.

    Raises:
        ValueError: naming the key as it is typed.
    """
    for key, value in knobs.items():
        if value is not None and not (value > least if above else value >= least):
            raise ValueError(
                f"criterion.params.{key} must be {'>' if above else '>='} {least}, got {value}."
            )


def one_of(key: str, value: str, known: tuple[str, ...]) -> None:
    """Makes sure that a knob has one of its values.

    Raises:
        ValueError: naming them.
    """
    if value not in known:
        raise ValueError(f"criterion.params.{key} is one of {', '.join(known)}; got {value!r}.")
