"""Two and three processes over gloo, started once for all tests that compare them with one."""

import importlib
import os
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from tests.conftest import made_once

# module -> the function that each process calls with (rank, world, folder)
OF_TWO = {
    "test_processes": "of_process",
    "test_global_batch": "of_process",
    "test_batch_statistics": "of_process",
    "test_divided_scores": "of_process",
    "test_class_sharding": "of_process",
    "test_sharded_predictions": "of_process",
    "test_micro_batches": "of_process",
    "test_backbone_sharding": "of_process",
    "test_runs_in_processes": "of_process",
    "test_feature_cache": "of_process",
}
OF_SEVERAL = {  # for slow tests, in two processes and in three
    "test_processes": "of_process",
    "test_global_batch": "of_process",
    "test_batch_statistics": "of_process_with_all_families",
    "test_divided_scores": "of_process",
    "test_class_sharding": "of_process_with_all",
    "test_sharded_predictions": "of_process",
    "test_micro_batches": "of_process",
    "test_backbone_sharding": "of_process_with_all",
    "test_runs_in_processes": "of_process_with_all_runs",
}


def one_of_several(rank: int, world: int, port: int, folder: Path, calls: dict[str, str]) -> None:
    """Saves in `folder` what the functions of the test modules return in process `rank`."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port), OMP_NUM_THREADS="1",
    )  # fmt: skip
    torch.set_num_threads(1)
    from vmf_embeddings.training.processes import start

    start(cpu=True)
    for name, function in calls.items():
        module = importlib.import_module(f"tests.training.{name}")
        found = getattr(module, function)(rank, world, folder)
        torch.save(found, folder / f"{name}_{rank}.pt")
    torch.distributed.destroy_process_group()


def in_processes(
    factory: pytest.TempPathFactory, name: str, world: int, calls: dict[str, str]
) -> dict[str, list]:
    """Module name -> what its function returned in each of `world` processes."""

    def run(folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        mp.spawn(one_of_several, (world, port, folder, calls), nprocs=world)

    folder = made_once(factory, name, run)
    return {name: [torch.load(folder / f"{name}_{r}.pt") for r in range(world)] for name in calls}


@pytest.fixture(scope="session")
def of_two_processes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list]:
    """Module name -> what its `of_process` returned in each of two processes."""
    return in_processes(tmp_path_factory, "of_two", 2, OF_TWO)


@pytest.fixture(scope="session", params=[2, 3])
def of_several(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list]:
    """Module name -> what its function of `OF_SEVERAL` returned in each of two or three."""
    name = f"of_several_{request.param}"
    return in_processes(tmp_path_factory, name, request.param, OF_SEVERAL)
