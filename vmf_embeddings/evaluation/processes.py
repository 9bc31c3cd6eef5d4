"""The processes that divide the scoring among them: those of `torchrun`, or one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from vmf_embeddings.search.ranks import ProcessGroup, SingleProcess


@dataclass(frozen=True)
class Group:
    """The processes of torch's default group; satisfies `search.ranks.ProcessGroup`."""

    rank: int
    size: int

    def add(self, counts: Tensor) -> None:
        """Sums integers over the processes, in place; every process gets the same sum."""
        dist.all_reduce(counts)


@contextmanager
def process_group() -> Iterator[ProcessGroup]:
    """The process group of this run, made from the environment variables that `torchrun` sets."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield SingleProcess()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    # both backends: counts are on the device on which rows are compared, GPU or CPU
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
