"""Batches of a split: divided among processes, and reproducible for every epoch."""

import weakref
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vmf_embeddings.datasets.base import Split
from vmf_embeddings.samplers.base import BatchSampler
from vmf_embeddings.training.data_wait import DataWait
from vmf_embeddings.training.division import checked_sizes, joined
from vmf_embeddings.training.interruption import spare_worker
from vmf_embeddings.training.seeding import AUGMENTATION_STREAM, epoch_seed
from vmf_embeddings.training.threads import usable_cores
from vmf_embeddings.untrusted.refused import Refused

Batch = dict[str, Any]


def n_workers(wanted: int) -> int:
    """The number of worker processes to start: `wanted`, but at most the number of cores."""
    return min(wanted, usable_cores())


class SeededItems(Dataset):
    """Items of a split, augmented under a seed that comes with the index.

    So the augmentation does not depend on which worker process loads an item.
    """

    def __init__(self, split: Split) -> None:
        self.split = split

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        """The item at `key = (index, seed)`."""
        index, seed = key
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self.split[index]


class _SeededBatchSampler:
    """A DataLoader's batch sampler for `SeededItems`: one random seed for every index.

    Seeds belong to the positions in the batches of all processes, so that an image is augmented
    alike whichever process reads it.

    Args:
        batches: gives the indices that all processes read together, a batch at a time.
        seed: of the pass that begins.
        rank: this process reads the indices rank, rank + world, … of each batch.
        world: number of processes.
        first: number of the first batch to read in the pass that begins.
    """

    def __init__(
        self,
        batches: Callable[[], Iterator[Tensor]],
        seed: Callable[[], int],
        rank: int,
        world: int,
        first: Callable[[], int] = lambda: 0,
    ) -> None:
        self.batches, self.seed, self.rank, self.world = batches, seed, rank, world
        self.first = first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        generator = torch.Generator().manual_seed(self.seed())
        own, first = slice(self.rank, None, self.world), self.first()
        for number, indices in enumerate(self.batches()):
            seeds = torch.randint(2**62, (len(indices),), generator=generator)
            if number >= first:
                yield list(zip(indices[own].tolist(), seeds[own].tolist(), strict=True))


class _OwnRows:
    """Reads this process's rows of batches from a split in memory, augmented as in one process.

    A whole batch is augmented by vectors of random numbers. Where a split draws them, every process
    augments the rows of all, and keeps its own.

    Args:
        split: split to read, held in memory.
        rank: this process keeps the rows rank, rank + world, … of each batch.
        world: number of processes.
    """

    def __init__(self, split: Split, rank: int, world: int) -> None:
        self.split, self.rank, self.world = split, rank, world
        self.draws = False  # until the split draws random numbers for a batch

    def __call__(self, indices: Tensor, generator: torch.Generator, n_at_once: int) -> Batch:
        """The own rows of a batch.

        Args:
            indices: of all processes [n].
            generator: in the same state in every process.
            n_at_once: rows that one process would read at once.
        """
        if self.world == 1:
            return self.split.batch(indices, generator=generator)
        if not self.draws:
            before = generator.get_state()
            own = self.split.batch(indices[self.rank :: self.world], generator=generator)
            self.draws = not torch.equal(before, generator.get_state())
            if not self.draws:
                return own
            generator.set_state(before)
        parts, first = [], 0
        for chunk in indices.split(n_at_once):
            whole = self.split.batch(chunk, generator=generator)
            own_rows = slice((self.rank - first) % self.world, None, self.world)
            parts.append({key: values[own_rows] for key, values in whole.items()})
            first += len(chunk)
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


class TrainBatches:
    """This process's part of the training batches of a split, epoch by epoch.

    A batch of the sampler is the GLOBAL batch. Process `rank` of `world` takes its rows rank,
    rank + world, …, each augmented as in one process, so that the result of a run does not depend
    on the number of processes. Only a last batch with fewer rows than processes differs: it joins
    the one before.

    Args:
        split: split to read.
        sampler: global batches of indices; re-seeded by `set_epoch`.
        seed: seed of the run.
        rank: this process, in 0..world-1.
        world: number of processes.
        num_workers: worker processes that load images, for splits that are not in memory. If the
            sampler learns after each step, none is used: workers would read batches in advance.

    Attributes:
        wait: how long the loop waited for the batches of the current or latest epoch.

    Raises:
        Refused: the processes cannot divide a batch, see `checked_sizes`.
    """

    def __init__(
        self,
        split: Split,
        sampler: BatchSampler,
        *,
        seed: int,
        rank: int = 0,
        world: int = 1,
        num_workers: int = 0,
    ) -> None:
        self.split, self.sampler, self.seed = split, sampler, seed
        self.rank, self.world = rank, world
        self.current_epoch = self.first = 0
        self.pending: deque[Tensor] = deque()  # global batches drawn but not yet returned, in order
        self.sizes = checked_sizes(sampler, world) if world > 1 else None
        workers = 0 if sampler.learns else num_workers
        self.own_rows = _OwnRows(split, rank, world)
        self.generator: torch.Generator | None = None  # of the augmentation, in memory
        self.loader, self.wait = None, DataWait()
        if not split.in_memory:
            # weakly: workers end when nothing refers to the loader any more; in a cycle torch would
            # close their queues before telling them to end, and wait five seconds for each
            this = weakref.proxy(self)
            seeded = _SeededBatchSampler(
                lambda: this._global_batches(),
                lambda: this._seed(),
                rank,
                world,
                lambda: this.first,
            )
            self.loader = _loader(split, seeded, workers)

    def __len__(self) -> int:
        return len(self.sampler) if self.sizes is None else len(self.sizes)

    def epoch(
        self, epoch: int, first: int = 0, augmentation: Tensor | None = None
    ) -> Iterator[tuple[Batch, float]]:
        """This process's part of each batch of an epoch, and the weight of its mean loss.

        Args:
            epoch: >= 0.
            first: number of the batch to begin with; those before it are drawn, but not read.
            augmentation: `augmentation_state()` after the batch before `first`.

        Yields:
            (batch, weight). With several processes, `all_ids` of the batch are the labels of the
            global batch. For n_r of n rows on W processes, weight = W n_r / n: the mean over
            processes of weight times mean loss is the mean loss of the global batch. It is 1 if
            all processes have equally many rows.
        """
        self.current_epoch, self.first = epoch, first
        self.sampler.set_epoch(epoch)
        self.pending.clear()
        batches = self._from_memory(augmentation) if self.loader is None else _read(self.loader)
        for batch in self.wait.timed(batches):
            indices = self.pending.popleft()
            if self.world > 1:
                batch["all_ids"] = self.split.labels[indices]
            yield batch, len(batch["ids"]) * self.world / len(indices)

    def warn_of_wait(self) -> None:
        """Warns where image files keep training waiting, see `DataWait.warn_once`."""
        if self.loader is not None:
            self.wait.warn_once(self.loader.num_workers, self.world)

    def _global_batches(self) -> Iterator[Tensor]:
        """Indices of each global batch."""
        drawn_ahead = self.world > 1 and not self.sampler.learns
        batches = joined(self.sampler, self.world) if drawn_ahead else self.sampler
        for number, indices in enumerate(batches):
            if number >= self.first:
                self.pending.append(indices)
            yield indices

    def _seed(self) -> int:
        """Seed of the augmentation in the current epoch, the same in every process."""
        return epoch_seed(self.seed, self.current_epoch, AUGMENTATION_STREAM)

    def augmentation_state(self) -> Tensor | None:
        """State of the augmentation after the batches returned so far; None for image files.

        An item of a file has a seed of its own, by its place in the epoch.
        """
        return None if self.generator is None else self.generator.get_state()

    def _from_memory(self, augmentation: Tensor | None) -> Iterator[Batch]:
        self.generator = generator = torch.Generator(self.split.device)
        generator.manual_seed(self._seed())
        if augmentation is not None:
            generator.set_state(augmentation)
        for indices in islice(self._global_batches(), self.first, None):
            yield self.own_rows(indices, generator, len(indices))


class SequentialBatches:
    """Batches of the given items of a split, in order; can be iterated repeatedly.

    Args:
        split: split to read.
        indices: int64 [n], the items of all processes.
        batch_size: items per batch of each process; the last batch may be smaller.
        num_workers: worker processes that load images, for splits that are not in memory. They
            are kept from one pass to the next, and do not affect the batches.
        seed: seed of the augmentation, if the split has one; an item is augmented alike for any
            number of processes.
        rank: this process reads the items indices[rank], indices[rank + world], ….
        world: number of processes.
    """

    def __init__(
        self,
        split: Split,
        indices: Tensor,
        batch_size: int,
        num_workers: int = 0,
        seed: int = 0,
        *,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.split, self.seed, self.batch_size = split, seed, batch_size
        # a last block may have no row of this process
        self.blocks = blocks = [b for b in indices.split(batch_size * world) if len(b) > rank]
        self.own_rows = _OwnRows(split, rank, world)
        self.loader = None
        if not split.in_memory:
            sampler = _SeededBatchSampler(lambda: iter(blocks), lambda: seed, rank, world)
            self.loader = _loader(split, sampler, num_workers)

    def __len__(self) -> int:
        return len(self.blocks)

    def __iter__(self) -> Iterator[Batch]:
        if self.loader is not None:
            yield from _read(self.loader)
            return
        generator = torch.Generator(self.split.device).manual_seed(self.seed)
        for block in self.blocks:
            yield self.own_rows(block, generator, self.batch_size)


def _loader(split: Split, sampler: _SeededBatchSampler, num_workers: int) -> DataLoader:
    workers = n_workers(num_workers)
    return DataLoader(
        SeededItems(split),
        batch_sampler=sampler,
        num_workers=workers,
        # the loader draws a seed for its workers: from its own generator, not the global one
        generator=torch.Generator(),
        persistent_workers=workers > 0,
        worker_init_fn=spare_worker,
        pin_memory=torch.cuda.is_available(),
    )


def end_workers(batches: TrainBatches | SequentialBatches) -> None:
    """Ends the processes that load these batches; otherwise they wait for the end of this one."""
    iterator = None if batches.loader is None else batches.loader._iterator
    if iterator is not None and batches.loader.num_workers:
        iterator._shutdown_workers()


def _read(loader: DataLoader) -> Iterator[Batch]:
    """The batches of a loader; a worker's `Refused` is raised without the worker's traceback.

    Raises:
        Refused: with the message of the worker.
    """
    try:
        yield from loader
    except Refused as error:
        # torch puts the worker's traceback into the message, which ends with the original one
        name = f"{Refused.__module__}.{Refused.__qualname__}: "
        raise Refused(str(error).rpartition(name)[2].strip()) from None
