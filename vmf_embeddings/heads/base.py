"""What every head offers: logits of the classes from embeddings, and a scale for them."""

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from vmf_embeddings.geometry import Geometry


class Head(nn.Module, ABC):
    """Embeddings [B, D] -> logits [B, C].

    A new one writes `logits`, `geometry` and `reset`, and calls `reset` once its parameters are
    there. The mathematics wants float32 or wider: a method calls it inside `@full_precision`.

    Args:
        n_classes: C.
        dim: D, length of an embedding.
    """

    weight: Tensor | None
    """[C, D], or None where the head has no class weights in the space of the embeddings."""
    bias: Tensor | None
    """[C], or None."""
    has_scale: ClassVar[bool] = False
    """Whether logits are multiplied by a scale, learned or fixed."""
    uses_norm: ClassVar[bool] = True
    """Whether the logits hang on how long an embedding is."""
    second_stage: ClassVar[str | None] = None
    """The mode that hands it what it needs of a trained run; None = it can be trained at once."""

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
        """Embeddings [B, D] -> similarity to every class [B, C], bias added, not scaled."""

    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> logits [B, C] as they enter a softmax: scale times `logits`."""
        return self.scale * self.logits(embeddings)

    @property
    def scale(self) -> Tensor:
        """What logits are multiplied by, > 0, scalar; 1 where there is none."""
        return torch.ones(())

    def set_scale(self, scale: float) -> None:
        """Takes the scale that a loss dictates instead of one of its own.

        Raises:
            ValueError: the logits are not bounded similarities, so that no scale fits them.
        """
        raise ValueError(
            f"this loss needs cosine logits: add head=cosine (or tvmf_k16), got head={self.name}."
        )

    @property
    @abstractmethod
    def geometry(self) -> Geometry:
        """How embeddings under this head are compared."""

    def undecayed_parameters(self) -> list[nn.Parameter]:
        """Parameters that never decay, beside biases and other vectors. Default: none."""
        return []

    @abstractmethod
    def reset(self) -> None:
        """Starts anew with random parameters."""

    @torch.no_grad()
    def copy_weights_from(self, other: "Head") -> Self:
        """Copies weights, and biases where both have them, of another head in place.

        Raises:
            ValueError: one of the two has no class weights, or their sizes differ.
        """
        if self.weight is None or other.weight is None or self.weight.shape != other.weight.shape:
            raise ValueError(
                f"head={self.name} wants class weights {[self.n_classes, self.dim]}, but "
                f"head={other.name} has {None if other.weight is None else [*other.weight.shape]}."
            )
        self.weight.copy_(other.weight)
        if self.bias is not None:
            self.bias.zero_() if other.bias is None else self.bias.copy_(other.bias)
        return self


@torch.no_grad()
def uniform_(tensor: Tensor, dim: int) -> None:
    """Fills a tensor in place from U(-1/sqrt(D), 1/sqrt(D)), as `nn.Linear` starts."""
    tensor.uniform_(-(dim**-0.5), dim**-0.5)
