"""Batches of a split: shared among processes, reproducible for every epoch."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vmf_embeddings.training.seeding import epoch_seed
from vmf_embeddings.training.threads import usable_cores
from vmf_embeddings.untrusted.refused import Refused

Batch = dict[str, Any]


def n_workers(wanted: int) -> int:
    """How many worker processes to start: not more than there are cores."""
    return min(wanted, usable_cores())


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
        num_workers: worker processes for splits that are not in memory; none where the sampler
            learns from step to step, for they draw ahead.
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
        self.coming: deque[Tensor] = deque()  # global batches on their way, first to come first
        ahead = 0 if sampler.learns else num_workers
        self.loader = None if split.in_memory else self._loader(ahead)

    def __len__(self) -> int:
        return len(self.sampler)

    def epoch(self, epoch: int) -> Iterator[tuple[Batch, float]]:
        """The batches of an epoch with the weight of this process's share.

        Args:
            epoch: from 0.

        Yields:
            Batch of this process, where there are several with the labels of the global batch in
            `all_ids`; and the factor that makes the mean over processes of the mean losses of their
            shares the mean loss of the global batch (1 where all shares are equally large).
        """
        self.current = epoch
        self.sampler.set_epoch(epoch)
        self.coming.clear()
        batches = self._from_memory() if self.loader is None else _read(self.loader)
        for batch in batches:
            indices = self.coming.popleft()
            if self.world > 1:
                batch["all_ids"] = self.split.labels[indices]
            yield batch, len(batch["ids"]) * self.world / len(indices)

    def _shares(self) -> Iterator[Tensor]:
        for indices in self.sampler:
            if len(indices) < self.world:
                raise ValueError(
                    f"a batch of {len(indices)} images cannot be shared by {self.world} processes: "
                    "draw larger batches or start fewer processes"
                )
            if self.sampler.pairs and len(indices) % (2 * self.world):
                raise ValueError(
                    f"{len(indices) // 2} pairs of images cannot be shared evenly by {self.world} "
                    "processes: let their number divide sampler.batch_size"
                )
            self.coming.append(indices)
            yield indices[self.rank :: self.world]

    def _from_memory(self) -> Iterator[Batch]:
        draw = torch.Generator(self.split.device)
        draw.manual_seed(epoch_seed(self.seed, self.current, 1 + self.rank))
        for indices in self._shares():
            yield self.split.batch(indices, generator=draw)

    def _loader(self, num_workers: int) -> DataLoader:
        plan = _Plan(self._shares, lambda: epoch_seed(self.seed, self.current, 1 + self.rank))
        return _loader(self.split, plan, num_workers)


class SequentialBatches:
    """The given items of a split in order, in batches, as often as one iterates.

    Args:
        split: split to read.
        indices: [n] which items.
        batch_size: items a batch; the last may be smaller.
        num_workers: worker processes for splits that are not in memory; they stay from one pass
            to the next, and change nothing in the batches.
        seed: of the augmentation, where the split has one.
    """

    def __init__(
        self, split: Any, indices: Tensor, batch_size: int, num_workers: int = 0, seed: int = 0
    ) -> None:
        self.split, self.seed = split, seed
        self.chunks = indices.split(batch_size)
        self.loader = None
        if not split.in_memory:
            plan = _Plan(lambda: iter(self.chunks), lambda: seed)
            self.loader = _loader(split, plan, num_workers)

    def __iter__(self) -> Iterator[Batch]:
        if self.loader is not None:
            yield from _read(self.loader)
            return
        draw = torch.Generator(self.split.device).manual_seed(self.seed)
        for chunk in self.chunks:
            yield self.split.batch(chunk, generator=draw)


def _loader(split: Any, plan: _Plan, num_workers: int) -> DataLoader:
    workers = n_workers(num_workers)
    return DataLoader(
        SeededItems(split),
        batch_sampler=plan,
        num_workers=workers,
        generator=torch.Generator(),  # its own, for the seed that a loader draws for itself
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _read(loader: DataLoader) -> Iterator[Batch]:
    """The batches of a loader, which wraps what a worker refuses into that process's trace.

    Raises:
        Refused: in the words of the worker.
    """
    try:
        yield from loader
    except Refused as error:
        name = f"{Refused.__module__}.{Refused.__qualname__}: "
        raise Refused(str(error).rpartition(name)[2].strip()) from None
