"""Two processes over gloo, started once for all tests that compare them with one process."""

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp


def one_of_two(rank: int, port: int, folder: Path) -> None:
    """Saves in `folder` what the test modules' `of_process` return in process `rank`."""
    from tests.training import test_global_batch, test_processes

    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port), OMP_NUM_THREADS="1",
    )  # fmt: skip
    torch.set_num_threads(1)
    for module in (test_processes, test_global_batch):
        name = module.__name__.rpartition(".")[2]
        torch.save(module.of_process(rank, 2, folder), folder / f"{name}_{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="session")
def of_two_processes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list]:
    """Module name -> what its `of_process` returned in each of the two processes."""
    folder = tmp_path_factory.mktemp("two_processes")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(one_of_two, (port, folder), nprocs=2)
    names = ("test_processes", "test_global_batch")
    return {name: [torch.load(folder / f"{name}_{r}.pt") for r in (0, 1)] for name in names}
