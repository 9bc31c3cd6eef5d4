"""What every batch sampler offers: batches of indices that depend on (seed, epoch) alone."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor


class BatchSampler(ABC):
    """Iterates over one epoch's GLOBAL batches; the trainer shares them out among processes.

    The sequence of an epoch is a function of (seed, epoch): no global generator is read or
    advanced, and iterating twice without `set_epoch` gives the same batches twice.

    Args:
        labels: integer classes [N] of the split.
        seed: >= 0.
    """

    balances: ClassVar[bool] = False
    """Whether batches are closer to all classes alike than to the classes of the data."""
    learns: ClassVar[bool] = False
    """Whether its law follows the training, step by step: `meta.py` says what that asks for."""

    pairs: ClassVar[bool] = False
    """Whether a batch consists of two halves whose rows belong together."""

    needs_embeddings: ClassVar[bool] = False
    """Whether it chooses by embeddings: then before each epoch it is given, by
    `renew(embeddings [N, D])`, those of its images as they are now."""

    def __init__(self, labels: Tensor, *, seed: int) -> None:
        self.labels = torch.as_tensor(labels).cpu().numpy()
        if self.labels.ndim != 1 or self.labels.size == 0:
            raise ValueError(f"expected labels [N] with N >= 1, got {self.labels.shape}")
        self.seed = seed
        self.epoch = 0

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __iter__(self) -> Iterator[Tensor]: ...

    def configure(self, *, n_epochs: int) -> None:  # noqa: B027 - most samplers need nothing
        """Told once, before the first epoch, how many there will be. Default: nothing."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, >= 0, whose batches come next."""
        self.epoch = epoch

    def generator(self) -> np.random.Generator:
        """A fresh generator for this epoch."""
        return np.random.default_rng(np.random.SeedSequence((self.seed, self.epoch)))

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to give the same batches."""
        return {"epoch": self.epoch, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to the epoch and seed of a saved state."""
        self.epoch = int(state["epoch"])
        self.seed = int(state["seed"])


def positive(**values: int) -> None:
    """Refuse counts below 1, naming the key as it is typed on the command line."""
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"sampler.{name} must be >= 1, got {value}")


def n_groups(batch_size: int, n_samples: int) -> int:
    """How many groups of `n_samples` images of a class make up a batch.

    Raises:
        ValueError: not a whole number.
    """
    positive(batch_size=batch_size, n_samples=n_samples)
    if batch_size % n_samples:
        raise ValueError(
            f"sampler.batch_size={batch_size} must be a multiple of sampler.n_samples={n_samples}"
        )
    return batch_size // n_samples


def n_batches(n: int, batch_size: int) -> int:
    """How many batches `in_batches` makes of n images."""
    full, rest = divmod(n, batch_size)
    return full + (rest > (full > 0 and batch_size > 1))


def in_batches(order: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Splits indices [n] into batches, the last of them smaller where n is no multiple.

    A single image left over joins the batch before it: alone it has no batch statistics.
    """
    batches = list(order.split(batch_size))
    if len(batches) > n_batches(len(order), batch_size):
        batches[-2:] = [torch.cat(batches[-2:])]
    yield from batches
