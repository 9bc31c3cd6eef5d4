"""A run goes on in another number of processes than it began in, with the weights of one."""

import os
import socket

import pytest
import torch
import torch.multiprocessing as mp

from tests.training.few_digits import trained
from tests.training.test_runs_in_processes import assert_alike, float64, weights
from vmf_embeddings.training.processes import start

# not adam: of biases before a batch normalisation it makes steps out of rounding
OPTIONS = ("method=classifier", "loss=balanced_softmax")


def one_of(rank, world, port, folder, epochs):
    """Trains up to so many epochs in process `rank` of `world`."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port), OMP_NUM_THREADS="1",
    )  # fmt: skip
    torch.set_num_threads(1)
    start(cpu=True)
    with float64():
        trained(folder, *OPTIONS, f"mode.epochs={epochs}")
    torch.distributed.destroy_process_group()


def train(folder, epochs, world):
    if world > 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        mp.spawn(one_of, (world, port, folder, epochs), nprocs=world)
        return
    with float64():
        trained(folder, *OPTIONS, f"mode.epochs={epochs}")


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 3), (1, 2)])
def test_a_run_goes_on_in_another_number_of_processes(tmp_path, first, then):
    train(tmp_path / "alone", 2, 1)
    train(tmp_path / "run", 1, first)
    train(tmp_path / "run", 2, then)
    assert_alike(weights(tmp_path / "run"), weights(tmp_path / "alone"))
