"""Embeddings of a whole split, shared among processes."""

from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from vmf_embeddings.methods.base import Method
from vmf_embeddings.training.batches import SequentialBatches
from vmf_embeddings.training.processes import gather_rows


def local_batches(
    split: Any, accelerator: Accelerator, *, batch_size: int, num_workers: int
) -> SequentialBatches:
    """The part of a split that this process embeds: every n-th item of n processes.

    Args:
        split: split without augmentation.
        accelerator: says which process this is.
        batch_size: images a step.
        num_workers: worker processes for splits that are not in memory.
    """
    rank, world = accelerator.process_index, accelerator.num_processes
    return SequentialBatches(split, torch.arange(rank, len(split), world), batch_size, num_workers)


@torch.no_grad()
def embed_split(method: Method, batches: SequentialBatches, accelerator: Accelerator) -> Tensor:
    """Embeds every item of a split, in evaluation mode.

    Args:
        method: what embeds; its mode is restored afterwards.
        batches: this process's share, by `local_batches`.
        accelerator: device, precision and processes.

    Returns:
        [N, D] float32 on the method's device, on every process, in the order of the split.
    """
    rank, world = accelerator.process_index, accelerator.num_processes
    was_training = method.training
    method.eval()
    rows = []
    for batch in batches:
        with accelerator.autocast():
            images = batch["examples"].to(accelerator.device, non_blocking=True)
            rows.append(method.embed(images).float())
    method.train(was_training)
    return gather_rows(torch.cat(rows), rank, world, len(batches.split))


def update_sampler_embeddings(
    sampler: Any, method: Method, batches: SequentialBatches, accelerator: Accelerator
) -> None:
    """Gives a sampler the embeddings of the training images as they are now.

    Args:
        sampler: one that `needs_embeddings`.
        method: what embeds; rows are projected as its geometry compares them.
        batches: this process's part of the training images, not augmented, by `local_batches`.
        accelerator: device, precision and processes, all of which give the sampler the same rows.
    """
    sampler.update_embeddings(method.geometry.project(embed_split(method, batches, accelerator)))
