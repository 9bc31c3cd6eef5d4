"""Lets N processes compute what one would: start of the processes, and gathered rows."""

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor


def start(
    *, cpu: bool = False, precision: str = "no", find_unused_parameters: bool = False
) -> Accelerator:
    """Creates the Accelerator; joins the process group if torchrun started this process.

    Args:
        cpu: stay on the CPU even if a GPU is present.
        precision: `no` or `bf16`.
        find_unused_parameters: whether parameters may lack a gradient in some steps, as frozen
            ones do; then every step finds out for which gradients the processes must wait.
    """
    return Accelerator(
        # without cpu=True, Accelerate does not connect the processes of a machine without GPUs
        cpu=cpu or not torch.cuda.is_available(),
        mixed_precision=precision,
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=find_unused_parameters)
        ],
    )


def gather_rows(rows: Tensor, rank: int, world: int, n_total: int) -> Tensor:
    """Gathers rows that were computed by several processes.

    Args:
        rows: [n, …] of this process, for the indices rank, rank + world, ….
        rank: this process, in 0..world-1.
        world: number of processes.
        n_total: number of rows of all processes together.

    Returns:
        [n_total, …] in every process, in the order of the indices, without gradient.
    """
    if world == 1:
        return rows
    longest = -(-n_total // world)
    padded = rows.new_zeros((longest, *rows.shape[1:]))
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(parts, padded)
    return torch.stack(parts, dim=1).flatten(0, 1)[:n_total]
