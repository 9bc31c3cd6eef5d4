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

    @property
    def valid(self) -> None:
        """None: all triplets count, unlike those of `MaskedTriplets`."""
        return None

    def compact(self) -> "Triplets":
        """The same triplets."""
        return self


class MaskedTriplets(NamedTuple):
    """Triplets of which some do not count, so that their number does not depend on the data.

    To know how many there are, the host would have to wait for the device. Row indices of a batch,
    int64, that broadcast to the shape of `valid`; where that is false they mean nothing.
    """

    anchor: Tensor
    positive: Tensor
    negative: Tensor
    valid: Tensor

    def compact(self) -> Triplets:
        """The triplets that count [T], in row-major order; waits for the device."""
        places = self.valid.nonzero(as_tuple=True)
        return Triplets(*(rows.expand_as(self.valid)[places] for rows in self[:3]))


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
        self,
        embeddings: Tensor,
        labels: Tensor,
        generator: torch.Generator | None = None,
        n_anchors: int | None = None,
    ) -> Triplets:
        """Triplets of a batch.

        Args:
            embeddings: [B, D], any floating dtype and device.
            labels: [B] integer classes.
            generator: for all random choices, on any device; None = torch's global one. A CPU
                generator gives the same triplets on every device.
            n_anchors: A, the first rows are the anchors of all triplets; None = all rows are.

        Returns:
            T >= 0 triplets on the device of the embeddings.

        Raises:
            ValueError: the shapes do not match, or the batch is empty.
        """
        return self.masked(embeddings, labels, generator, n_anchors).compact()

    @torch.no_grad()
    def masked(
        self,
        embeddings: Tensor,
        labels: Tensor,
        generator: torch.Generator | None = None,
        n_anchors: int | None = None,
    ) -> Triplets | MaskedTriplets:
        """The triplets of `__call__`, in the same order, without waiting for the device.

        Arguments and errors are those of `__call__`.

        Returns:
            As many triplets as the miner finds places for, some of them masked; without a mask
            where all count.
        """
        _check_shapes(embeddings, labels)
        return self.mine(embeddings.double(), labels[:n_anchors, None] == labels, generator)

    @abstractmethod
    def mine(
        self, embeddings: Tensor, same: Tensor, generator: torch.Generator | None
    ) -> Triplets | MaskedTriplets:
        """Chooses the triplets; implemented by subclasses.

        Args:
            embeddings: float64 [B, D], as sampling weights depend on small differences.
            same: bool [A, B], whether two rows have the same class; the first A rows are anchors.
            generator: see `__call__`.
        """


def _check_shapes(embeddings: Tensor, labels: Tensor) -> None:
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1] or not len(labels):
        raise ValueError(
            "expected embeddings [B, D] and labels [B] with B >= 1, got "
            f"{tuple(embeddings.shape)} and {tuple(labels.shape)}"
        )


def no_miner() -> None:
    """Builds no miner, for `miner=none`: the criterion uses the whole batch."""


def others(same: Tensor) -> Tensor:
    """Bool [A, B], whether two different rows have the same class: `same` without its diagonal."""
    return same.clone().fill_diagonal_(False)
