"""Base class of the batch samplers: an epoch's batches are a function of (seed, epoch)."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor


class BatchSampler(ABC):
    """Iterates over the GLOBAL batches of an epoch; the training loop divides them among processes.

    The sequence of an epoch is a function of (seed, epoch): global random generators are neither
    read nor advanced, and iterating twice without `set_epoch` gives the same batches twice.

    Args:
        labels: integer classes [N] of the split.
        seed: >= 0.
    """

    balances: ClassVar[bool] = False
    """Whether class frequencies in batches are closer to uniform than to those of the data."""
    learns: ClassVar[bool] = False
    """Whether its class probabilities are learned during training, see `meta.py`."""

    pairs: ClassVar[bool] = False
    """Whether a batch consists of two halves [B] and [B], of which rows i and B + i form a pair."""

    needs_length: ClassVar[bool] = False
    """Whether its batches depend on the number of epochs: then a resumed run must have the same."""

    needs_embeddings: ClassVar[bool] = False
    """Whether it chooses by embeddings: then before each epoch it is given, by
    `renew(embeddings [N, D])`, those of its images as they are now."""

    needs_blocks: ClassVar[bool] = False
    """Whether it reads the data block by block: then it is told, by `set_blocks(int [N] or None)`,
    in which of the files that hold many images each one lies, see `Split.blocks`."""

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
        """Called once with the number of epochs before the first; does nothing by default."""

    def set_epoch(self, epoch: int) -> None:
        """Selects the epoch, >= 0, whose batches come next."""
        self.epoch = epoch

    def generator(self) -> np.random.Generator:
        """A new generator, seeded by (seed, epoch)."""
        return np.random.default_rng(np.random.SeedSequence((self.seed, self.epoch)))

    def state_dict(self) -> dict[str, Any]:
        """The state from which `load_state_dict` continues with the same batches."""
        return {"epoch": self.epoch, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores epoch and seed of a saved state."""
        self.epoch = int(state["epoch"])
        self.seed = int(state["seed"])


def check_positive(**values: int) -> None:
    """Refuses counts below 1, naming the option as it is typed on the command line."""
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"sampler.{name} must be >= 1, got {value}")


def groups_per_batch(batch_size: int, n_samples: int) -> int:
    """The number of groups of `n_samples` images of one class in a batch.

    Raises:
        ValueError: `batch_size` is not a multiple of `n_samples`.
    """
    check_positive(batch_size=batch_size, n_samples=n_samples)
    if batch_size % n_samples:
        raise ValueError(
            f"sampler.batch_size={batch_size} must be a multiple of sampler.n_samples={n_samples}"
        )
    return batch_size // n_samples


def n_batches(n: int, batch_size: int) -> int:
    """The number of batches that `split_into_batches` makes of n images."""
    full, rest = divmod(n, batch_size)
    return full + (rest > (full > 0 and batch_size > 1))


def split_into_batches(order: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Splits indices [n] into batches; the last one may be smaller.

    A last batch of one image is appended to the one before it, because batch normalisation needs
    two images.
    """
    batches = list(order.split(batch_size))
    if len(batches) > n_batches(len(order), batch_size):
        batches[-2:] = [torch.cat(batches[-2:])]
    yield from batches
