"""What every miner offers: triplets of the rows of a batch."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor


class Triplets(NamedTuple):
    """Rows of a batch, int64 [T] each; a row may be in many triplets."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor


class Miner(ABC):
    """Chooses triplets of a batch: a function of embeddings, labels and a generator's state.

    A subclass says in its docstring how many triplets it makes and which. An anchor that has
    nobody to be compared with makes none.
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
            generator: of every draw, on any device; torch's default one if None. One on the CPU
                makes the same triplets on every device.

        Returns:
            T >= 0 triplets on the device of the embeddings.

        Raises:
            ValueError: shapes do not fit, or nothing is there.
        """
        if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1] or not len(labels):
            raise ValueError(
                "expected embeddings [B, D] and labels [B] with B >= 1, got "
                f"{tuple(embeddings.shape)} and {tuple(labels.shape)}"
            )
        return self.mine(embeddings.double(), labels[:, None] == labels, generator)

    @abstractmethod
    def mine(self, embeddings: Tensor, same: Tensor, generator: torch.Generator | None) -> Triplets:
        """The rule.

        Args:
            embeddings: float64 [B, D]: probabilities of draws hang on small differences.
            same: bool [B, B], whether two rows have the same class.
            generator: as above.
        """


def no_miner() -> None:
    """No miner: the criterion sees the batch."""


def others(same: Tensor) -> Tensor:
    """Whether two different rows have the same class, from `same`; both bool [B, B]."""
    return same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)


def select(keep: Tensor, anchor: Tensor, positive: Tensor, negative: Tensor) -> Triplets:
    """The triplets [T] of those [B] for which `keep` is true."""
    return Triplets(anchor[keep], positive[keep], negative[keep])
