"""Embeddings of a whole split, shared among processes."""

import torch
from accelerate import Accelerator
from torch import Tensor

from vmf_embeddings.methods.base import Method
from vmf_embeddings.training.batches import sequential_batches
from vmf_embeddings.training.processes import gather_rows


@torch.no_grad()
def embed_split(
    method: Method, split: object, accelerator: Accelerator, *, batch_size: int, num_workers: int
) -> Tensor:
    """Embeds every item of a split, in evaluation mode.

    Args:
        method: what embeds; its mode is restored afterwards.
        split: split without augmentation.
        accelerator: device, precision and processes.
        batch_size: images a step.
        num_workers: worker processes for splits that are not in memory.

    Returns:
        [N, D] float32 on the method's device, on every process, in the order of the split.
    """
    rank, world = accelerator.process_index, accelerator.num_processes
    was_training = method.training
    method.eval()
    rows = []
    for batch in sequential_batches(
        split, torch.arange(rank, len(split), world), batch_size, num_workers
    ):
        with accelerator.autocast():
            rows.append(method.embed(batch["examples"].to(accelerator.device)).float())
    method.train(was_training)
    return gather_rows(torch.cat(rows), rank, world, len(split))
