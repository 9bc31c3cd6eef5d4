"""Embeddings of a whole split, computed by all processes together."""

from collections.abc import Callable
from typing import Protocol

import torch
from accelerate import Accelerator
from torch import Tensor

from vmf_embeddings.datasets.base import Split
from vmf_embeddings.methods.base import Method
from vmf_embeddings.progress import (
    LARGE_JOB,
    SECONDS_BETWEEN_LINES,
    Progress,
)
from vmf_embeddings.training.batches import SequentialBatches
from vmf_embeddings.training.processes import gather_rows


class EmbeddingSampler(Protocol):
    """A sampler with `needs_embeddings`: it chooses images by their embeddings."""

    def update_embeddings(self, embeddings: Tensor) -> None:
        """Takes the current embeddings [N, D] of all training images."""


def local_batches(
    split: Split, accelerator: Accelerator, *, batch_size: int, num_workers: int, seed: int = 0
) -> SequentialBatches:
    """The part of a split that this process embeds: items rank, rank + W, … of W processes.

    Args:
        split: what to embed.
        accelerator: knows the rank of this process and their number W.
        batch_size: images per batch.
        num_workers: worker processes that load images, for splits that are not in memory.
        seed: of the augmentation, if the split has one; the same in every process.
    """
    rank, world = accelerator.process_index, accelerator.num_processes
    items = torch.arange(len(split))
    if (
        len(items) <= rank
    ):  # without items of its own; `embed_own_rows` drops what it did not ask for
        return SequentialBatches(split, items[:1], batch_size, num_workers, seed)
    return SequentialBatches(split, items, batch_size, num_workers, seed, rank=rank, world=world)


def embed_with_progress(
    method: Method,
    batches: SequentialBatches,
    accelerator: Accelerator,
    what: str,
    *,
    silent: float | None = None,
) -> Tensor:
    """`embed_split` that shows how far it is; arguments as for `embed_own_with_progress`."""
    own = embed_own_with_progress(method, batches, accelerator, what, silent=silent)
    return gather_rows(own, *_place(batches, accelerator))


def embed_own_with_progress(
    method: Method,
    batches: SequentialBatches,
    accelerator: Accelerator,
    what: str,
    *,
    silent: float | None = None,
) -> Tensor:
    """`embed_own_rows` that shows how far it is.

    Args:
        method: see `embed_own_rows`.
        batches: see `embed_own_rows`.
        accelerator: see `embed_own_rows`.
        what: name of the images, such as "test images".
        silent: within an epoch, seconds since its last line: there is none until half a minute has
            passed. None elsewhere.
    """
    n_images = len(batches.split)
    with Progress(
        f"Embedding {n_images:,} {what}",
        len(batches),
        quiet=not accelerator.is_main_process,
        at_once=n_images > LARGE_JOB and silent is None,
        seconds_until_line=None if silent is None else max(0.0, SECONDS_BETWEEN_LINES - silent),
    ) as progress:
        return embed_own_rows(method, batches, accelerator, progress)


def embed_split(
    method: Method,
    batches: SequentialBatches,
    accelerator: Accelerator,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Embeds every item of a split; arguments as for `embed_own_rows`.

    Returns:
        [N, D] float32 on the method's device, the same in every process, in the split's order.
    """
    own = embed_own_rows(method, batches, accelerator, progress)
    return gather_rows(own, *_place(batches, accelerator))


@torch.no_grad()
def embed_own_rows(
    method: Method,
    batches: SequentialBatches,
    accelerator: Accelerator,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Embeds this process's items of a split, in evaluation mode.

    Args:
        method: embeds the images; its training or evaluation mode is restored afterwards.
        batches: this process's part of the split, from `local_batches`.
        accelerator: device, precision and processes.
        progress: called with the number of this process's batches that are embedded.

    Returns:
        [n, D] float32 on the method's device: items rank, rank + W, … of W processes.
    """
    was_training = method.training
    method.eval()
    rows = []
    for number, batch in enumerate(batches, 1):
        with accelerator.autocast():
            images = batch["examples"].to(accelerator.device, non_blocking=True)
            rows.append(method.embed(images).float())
        if progress is not None:
            progress(number)
    rank, world, n_total = _place(batches, accelerator)
    if hasattr(getattr(method, "arch", None), "unshard"):  # torch's FSDPModule
        # each pass collects weights from all processes, of which some have a batch more
        for _ in range(-(-n_total // (batches.batch_size * world)) - len(batches)):
            method.embed(images)
    method.train(was_training)
    return torch.cat(rows)[: len(range(rank, n_total, world))]


def _place(batches: SequentialBatches, accelerator: Accelerator) -> tuple[int, int, int]:
    """Rank, number of processes, and items of all of them."""
    return accelerator.process_index, accelerator.num_processes, len(batches.split)


def update_sampler_embeddings(
    sampler: EmbeddingSampler,
    method: Method,
    batches: SequentialBatches,
    accelerator: Accelerator,
) -> None:
    """Passes the current embeddings of the training images to a sampler.

    Args:
        sampler: one that `needs_embeddings`.
        method: embeds the images; its geometry projects the embeddings as it compares them.
        batches: this process's part of the training images without augmentation, from
            `local_batches`.
        accelerator: device, precision and processes; the sampler gets the same rows in each.
    """
    what = f"training {batches.split.unit} for the sampler"
    rows = embed_with_progress(method, batches, accelerator, what, silent=0.0)
    sampler.update_embeddings(method.geometry.project(rows))
