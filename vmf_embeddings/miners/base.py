"""Base class of the miners, which choose triplets of the rows of a batch."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor


class Triplets(NamedTuple):
    """Row indices of a batch, int64 [T] each; a row may be in many triplets."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor


class Miner(ABC):
    """Chooses triplets of a batch: a function of embeddings, labels and the generator's state.

    The docstring of a subclass states how many triplets it returns and which. An anchor without
    a positive or a negative is in none, unless stated otherwise.
    """

    @property
    def name(self) -> str:
        """The name of the miner is the name of its file."""
        return type(self).__module__.rpartition(".")[2]

    @torch.no_grad()
    def __call__(
        self, embeddings: Tensor, labels: Tensor, generator: torch.Generator | None = None
    ) -> Triplets:
        """Triplets of a batch.

        Args:
            embeddings: [B, D], any floating dtype and device.
            labels: [B] integer classes.
            generator: for all random choices, on any device; None = torch's global one. A CPU
                generator gives the same triplets on every device.

        Returns:
            T >= 0 triplets on the device of the embeddings.

        Raises:
            ValueError: the shapes do not match, or the batch is empty.
        """
        if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1] or not len(labels):
            raise ValueError(
                "expected embeddings [B, D] and labels [B] with B >= 1, got "
                f"{tuple(embeddings.shape)} and {tuple(labels.shape)}"
            )
        return self.mine(embeddings.double(), labels[:, None] == labels, generator)

    @abstractmethod
    def mine(self, embeddings: Tensor, same: Tensor, generator: torch.Generator | None) -> Triplets:
        """Chooses the triplets; implemented by subclasses.

        Args:
            embeddings: float64 [B, D], as sampling weights depend on small differences.
            same: bool [B, B], whether two rows have the same class.
            generator: see `__call__`.
        """


def no_miner() -> None:
    """Builds no miner, for `miner=none`: the criterion uses the whole batch."""


def others(same: Tensor) -> Tensor:
    """Bool [B, B], whether two different rows have the same class: `same` without its diagonal."""
    return same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)


def select(keep: Tensor, anchor: Tensor, positive: Tensor, negative: Tensor) -> Triplets:
    """The triplets [T] of those [B] for which `keep` is true."""
    return Triplets(anchor[keep], positive[keep], negative[keep])
