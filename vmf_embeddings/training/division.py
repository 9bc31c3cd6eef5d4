"""Division of a sampler's global batches among processes, checked before the first step."""

import logging
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from vmf_embeddings.samplers.base import BatchSampler
from vmf_embeddings.untrusted.refused import Refused

log = logging.getLogger(__name__)


def joined(batches: Iterable[Tensor], world: int) -> Iterator[Tensor]:
    """The batches; the last one joins the one before it if it has fewer rows than processes.

    So all processes have rows in every batch, and every image counts once.

    Args:
        batches: indices of an epoch's global batches.
        world: number of processes, >= 1.

    >>> [len(b) for b in joined(torch.arange(17).split(5), 3)]
    [5, 5, 7]
    >>> [len(b) for b in joined(torch.arange(17).split(5), 2)]
    [5, 5, 5, 2]
    """
    remaining = iter(batches)
    held, current = next(remaining, None), next(remaining, None)
    while current is not None:
        following = next(remaining, None)
        if following is None and len(current) < world:
            held = torch.cat([held, current])
        else:
            yield held
            held = current
        current = following
    if held is not None:
        yield held


def batch_sizes(sampler: BatchSampler, world: int) -> list[int]:
    """Rows of each global batch of an epoch, as `joined` for that many processes.

    A sampler that learns or chooses by embeddings cannot be asked for batches in advance; all of
    its batches have the same size.
    """
    if sampler.learns or getattr(sampler, "needs_embeddings", False):
        size = sampler.batch_size + getattr(sampler, "meta_batch_size", 0)
        return [size] * len(sampler)
    sampler.set_epoch(0)
    return [len(indices) for indices in joined(sampler, world)]


def checked_sizes(sampler: BatchSampler, world: int) -> list[int]:
    """The `batch_sizes` of a sampler, each of which the processes can divide.

    Raises:
        Refused: a batch has fewer rows than there are processes, or its pairs cannot be divided
            evenly; says what to type.
    """
    sizes = batch_sizes(sampler, world)
    smallest = min(sizes, default=world)
    if smallest < world:
        raise Refused(
            f"a batch of {smallest} images cannot be divided among {world} processes: use "
            f"sampler.batch_size={world} or more, or torchrun --nproc-per-node {max(smallest, 1)} "
            "at most"
        )
    uneven = [size for size in sizes if size % (2 * world)] if sampler.pairs else []
    if uneven:
        raise Refused(
            f"{uneven[0] // 2} pairs of images cannot be divided evenly among {world} processes: "
            f"let sampler.batch_size be a multiple of {world}"
        )
    n_joined = len(sampler) - len(sizes)
    if n_joined:
        log.info(
            "The last images of an epoch are fewer than the %d processes: they join the batch "
            "before them, which has %d images",
            *(world, sizes[-1]),
        )
    return sizes


def refuse_larger_batches(sampler: BatchSampler, world: int, most: int) -> None:
    """Refuses a sampler with a batch of more images than the memory of a loss holds.

    Args:
        sampler: gives the global batches.
        world: number of processes.
        most: images that the memory holds, >= 1.

    Raises:
        Refused: with the size of the largest batch.
    """
    largest = max(batch_sizes(sampler, world), default=0)
    if largest > most:
        raise Refused(
            f"the loss's memory_size={most} is smaller than the largest batch, which has {largest} "
            f"images: use memory_size={largest} or more, or a smaller sampler.batch_size"
        )
