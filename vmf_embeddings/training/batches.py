"""Batches of a split: shared among processes, reproducible for every epoch."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vmf_embeddings.training.seeding import epoch_seed

Batch = dict[str, Any]


def n_workers(wanted: int) -> int:
    """How many worker processes to start: not more than there are cores."""
    return min(wanted, os.cpu_count() or 1)


class SeededItems(Dataset):
    """Items whose augmentation depends on a seed that comes with the index, not on a process."""

    def __init__(self, split: Dataset) -> None:
        self.split = split

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        """The item at `key = (index, seed)`."""
        index, seed = key
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self.split[index]


class _Plan:
    """A batch sampler for `SeededItems`: this process's share of each batch of the epoch."""

    def __init__(self, batches: Callable[[], Iterator[Tensor]], seed: Callable[[], int]) -> None:
        self.batches, self.seed = batches, seed

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        draw = torch.Generator().manual_seed(self.seed())
        for indices in self.batches():
            seeds = torch.randint(2**62, (len(indices),), generator=draw)
            yield list(zip(indices.tolist(), seeds.tolist(), strict=True))


class TrainBatches:
    """One epoch after another of a split's training batches.

    A batch of the sampler is the GLOBAL batch. Process `rank` of `world` takes every `world`-th of
    its rows, so that a run's result does not hang on the number of processes.

    Args:
        split: split to draw from.
        sampler: batches of indices, re-seeded by `set_epoch`.
        seed: the run's seed.
        rank: this process.
        world: number of processes.
        num_workers: worker processes for splits that are not in memory.
    """

    def __init__(
        self,
        split: Any,
        sampler: Any,
        *,
        seed: int,
        rank: int = 0,
        world: int = 1,
        num_workers: int = 0,
    ) -> None:
        self.split, self.sampler, self.seed = split, sampler, seed
        self.rank, self.world = rank, world
        self.current = 0
        self.loader = None if split.in_memory else self._loader(n_workers(num_workers))

    def __len__(self) -> int:
        return len(self.sampler)

    def epoch(self, epoch: int) -> Iterator[tuple[Batch, float]]:
        """The batches of an epoch with the weight of this process's share.

        Args:
            epoch: from 0.

        Yields:
            Batch of this process, and the factor that makes the mean over processes of the mean
            losses of their shares the mean loss of the global batch (1 where all shares are equally
            large).
        """
        self.current = epoch
        self.sampler.set_epoch(epoch)
        batches = self._from_memory() if self.loader is None else iter(self.loader)
        for batch in batches:
            yield batch, 1.0 if self.world == 1 else self._weight(batch)

    def _shares(self) -> Iterator[Tensor]:
        for indices in self.sampler:
            if len(indices) < self.world:
                raise ValueError(
                    f"a batch of {len(indices)} images cannot be shared by {self.world} processes: "
                    "draw larger batches or start fewer processes"
                )
            yield indices[self.rank :: self.world]

    def _from_memory(self) -> Iterator[Batch]:
        draw = torch.Generator().manual_seed(epoch_seed(self.seed, self.current, 1 + self.rank))
        for indices in self._shares():
            yield self.split.batch(indices, generator=draw)

    def _loader(self, workers: int) -> DataLoader:
        plan = _Plan(self._shares, lambda: epoch_seed(self.seed, self.current, 1 + self.rank))
        return DataLoader(
            SeededItems(self.split),
            batch_sampler=plan,
            num_workers=workers,
            generator=torch.Generator(),  # its own, for the seed that a loader draws for itself
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _weight(self, batch: Batch) -> float:
        mine = torch.tensor(float(len(batch["ids"])))
        total = mine.clone()
        torch.distributed.all_reduce(total)
        return float(mine * self.world / total)


def sequential_batches(
    split: Any, indices: Tensor, batch_size: int, num_workers: int = 0, seed: int = 0
) -> Iterator[Batch]:
    """The given items of a split in order, in batches.

    Args:
        split: split to read.
        indices: [n] which items.
        batch_size: items a batch; the last may be smaller.
        num_workers: worker processes for splits that are not in memory.
        seed: of the augmentation, where the split has one.

    Yields:
        Batches, the same whatever the number of workers.
    """
    chunks = indices.split(batch_size)
    if split.in_memory:
        draw = torch.Generator().manual_seed(seed)
        for chunk in chunks:
            yield split.batch(chunk, generator=draw)
        return
    yield from DataLoader(
        SeededItems(split),
        batch_sampler=_Plan(lambda: iter(chunks), lambda: seed),
        num_workers=n_workers(num_workers),
        generator=torch.Generator(),
    )
