"""Lets N processes compute what one would: start of the processes, and rows that they exchange."""

import atexit
from collections.abc import Iterator

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor

BLOCK_ROWS = 8192  # rows that a process sends at a time


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
    atexit.register(_leave)
    return Accelerator(
        # without cpu=True, Accelerate does not connect the processes of a machine without GPUs
        cpu=cpu or not torch.cuda.is_available(),
        mixed_precision=precision,
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=find_unused_parameters)
        ],
    )


def _leave() -> None:
    """Leaves the process group on the CPU: at exit its threads would abort one process in ten."""
    if dist.is_initialized() and dist.get_backend() == "gloo":
        dist.destroy_process_group()


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
    padded = _padded(rows, longest)
    parts = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(parts, padded)
    return torch.stack(parts, dim=1).flatten(0, 1)[:n_total]


def gathered_blocks(
    rows: Tensor, rank: int, world: int, n_total: int, n_own: int
) -> Iterator[Tensor]:
    """As `gather_rows`, a block at a time: no process holds the rows of all.

    Args:
        rows: see `gather_rows`.
        rank: see `gather_rows`.
        world: see `gather_rows`.
        n_total: see `gather_rows`.
        n_own: rows of each process in a block, >= 1.

    Yields:
        [world * n_own, …], the last one shorter, in the order of the indices.
    """
    for first in range(0, n_total, world * n_own):
        own = rows[first // world : first // world + n_own]
        yield gather_rows(own, rank, world, min(world * n_own, n_total - first))


def gather_rows_to_first(rows: Tensor, rank: int, world: int, n_total: int) -> Tensor | None:
    """As `gather_rows`, into the first process only.

    Returns:
        [n_total, …] in process 0, None in the others, which hold their own rows alone.
    """
    if world == 1:
        return rows
    whole = rows.new_empty((n_total, *rows.shape[1:])) if rank == 0 else None
    for first in range(0, n_total, world * BLOCK_ROWS):
        n_rows = min(world * BLOCK_ROWS, n_total - first)
        own = rows[first // world : first // world + BLOCK_ROWS]
        padded = _padded(own, -(-n_rows // world))
        if whole is None:
            dist.gather(padded, None)
        else:
            parts = [torch.empty_like(padded) for _ in range(world)]
            dist.gather(padded, parts)
            block = torch.stack(parts, dim=1).flatten(0, 1)
            whole[first : first + n_rows] = block[:n_rows]
    return whole


def _padded(rows: Tensor, length: int) -> Tensor:
    """Rows [n, …] with rows of zeros up to [length, …]."""
    padded = rows.new_zeros((length, *rows.shape[1:]))
    padded[: len(rows)] = rows
    return padded
