"""Two processes over gloo average the vMF loss's gradients as they should."""

import os
import socket
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from tests.methods.laws import TinyArch, normal
from vmf_embeddings.methods.vmf_softmax import VMFSoftmax


class Loss(nn.Module):
    """The loss of a method as a forward pass."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        arch = TinyArch(5, 20, use_vmf=True, learn_temp=True)
        self.method = VMFSoftmax(arch.eval(), 4, "exact", "exact", "exact")

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.method.loss(9 * self.method.embed(images), labels)


def gradients(module: nn.Module, rank: int) -> list[Tensor]:
    """Of a rank's own images, labels and draws."""
    torch.manual_seed(10 + rank)
    module(normal(6, 1, 4, 4, seed=rank).float(), (torch.arange(6) + rank) % 5).backward()
    return [p.grad.clone() for p in module.parameters() if p.grad is not None]


def worker(rank: int, port: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    shared = gradients(nn.parallel.DistributedDataParallel(Loss()), rank)
    torch.save(shared, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_average_the_gradients(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(worker, (port, str(tmp_path)), nprocs=2)
    alone = [gradients(Loss(), rank) for rank in range(2)]
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert len(found) == len(alone[0])
        for mine, *each in zip(found, *alone, strict=True):
            torch.testing.assert_close(mine, sum(each) / 2, rtol=1e-5, atol=1e-7)
