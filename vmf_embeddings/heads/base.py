"""Base class of the heads: logits of the classes from embeddings, and a scale for them."""

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from vmf_embeddings.geometry import Geometry


class Head(nn.Module, ABC):
    """Embeddings [B, D] -> logits [B, C].

    A subclass implements `logits`, `geometry` and `reset`, and calls `reset` at the end of its
    constructor. Inputs must be float32 or wider: methods call it inside `@full_precision`.

    Args:
        n_classes: C.
        dim: D, dimension of an embedding.
    """

    weight: Tensor | None
    """Class weights [C, D], or None if the head has none in the space of the embeddings."""
    bias: Tensor | None
    """Bias of the logits [C], or None."""
    has_scale: ClassVar[bool] = False
    """Whether the logits are multiplied by a scale, learned or fixed."""
    normalizer: bool = False
    """Whether the logits are log densities, with log C of each class."""
    uses_norm: bool = True
    """Whether the logits depend on the norm of an embedding."""
    second_stage: ClassVar[str | None] = None
    """The `mode=` that must train it on a trained run; None = it can be trained from scratch."""

    def __init__(self, n_classes: int, dim: int) -> None:
        super().__init__()
        if n_classes < 1 or dim < 1:
            raise ValueError(f"a head needs n_classes >= 1 and dim >= 1, got {n_classes}, {dim}.")
        self.n_classes, self.dim = n_classes, dim

    @property
    def name(self) -> str:
        """The name of the head is the name of its file."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> similarity to every class [B, C] with bias, before scaling."""

    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> input of the softmax [B, C]: `scale` times `logits`."""
        return self.scale * self.logits(embeddings)

    @property
    def scale(self) -> Tensor:
        """Factor of the logits, > 0, scalar; 1 if the head has no scale."""
        return torch.ones(())

    def set_scale(self, scale: float) -> None:
        """Sets a fixed scale, which some losses prescribe, in place of the head's own.

        Raises:
            ValueError: the logits of this head are not bounded similarities.
        """
        raise ValueError(
            f"this loss needs cosine logits: add head=cosine (or tvmf_k16), got head={self.name}."
        )

    @property
    @abstractmethod
    def geometry(self) -> Geometry:
        """How embeddings trained with this head are compared."""

    def undecayed_parameters(self) -> list[nn.Parameter]:
        """Parameters without weight decay, in addition to biases and vectors. Default: none."""
        return []

    @abstractmethod
    def reset(self) -> None:
        """Initialises all parameters randomly."""

    @torch.no_grad()
    def copy_weights_from(self, other: "Head") -> Self:
        """Copies the class weights of another head in place, and its bias if both have one.

        A missing bias of the other head counts as 0.

        Raises:
            ValueError: one of the two has no class weights, or their shapes differ.
        """
        if self.weight is None or other.weight is None or self.weight.shape != other.weight.shape:
            raise ValueError(
                f"head={self.name} needs class weights {[self.n_classes, self.dim]}, but "
                f"head={other.name} has {None if other.weight is None else [*other.weight.shape]}."
            )
        self.weight.copy_(other.weight)
        if self.bias is not None:
            self.bias.zero_() if other.bias is None else self.bias.copy_(other.bias)
        return self


@torch.no_grad()
def uniform_(tensor: Tensor, dim: int) -> None:
    """Fills a tensor in place from U(-1/sqrt(D), 1/sqrt(D)), as `nn.Linear` initialises."""
    tensor.uniform_(-(dim**-0.5), dim**-0.5)


def refuse_unusable_rows(embeddings: Tensor) -> None:
    """Refuses embeddings [N, D] with NaN or infinite numbers, which would reach every class.

    Raises:
        ValueError: says how many rows, and the first.
    """
    broken = (~embeddings.isfinite().all(1)).nonzero().flatten()
    if len(broken):
        raise ValueError(
            f"embeddings: {len(broken)} of {len(embeddings)} rows are NaN or infinite, the first "
            f"is row {int(broken[0])}."
        )


def refuse_one_dimension(dim: int, option: str) -> None:
    """Refuses embeddings of one number, on whose sphere of two points there are no densities.

    Raises:
        ValueError: names the option that needs densities.
    """
    if dim < 2:
        raise ValueError(f"{option} needs arch.params.embedding_dim >= 2, got {dim}.")
