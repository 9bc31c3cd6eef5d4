"""NIR in the loop: resumed runs, its columns in the records, autocast, two processes."""

import csv
import os
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from tests.methods.laws import normal
from tests.methods.test_nir import nir
from tests.test_second_stage import composed
from vmf_embeddings import app
from vmf_embeddings.training import checkpoint

RUN = [
    *("dataset=digits_open", "method=nir", "arch=n_digit_mnist", "arch.params.embedding_dim=8"),
    *("arch.params.normalize=true", "trainer.cpu=true", "trainer.threads=1"),
    *("method.params.flow.blocks=2", "method.params.flow.depth=3", "method.params.flow.width=16"),
    *("method.params.noise=0.01", "method.params.pair_perc=0.5", "mode.learning_rate=1e-5"),
    *("sampler.n_episodes=4", "sampler.n_classes=5", "sampler.n_samples=6"),
    "method.params.flow_objective=nll",
]


def trained(folder: Path, epochs: int, *more: str) -> dict:
    """The last state of a run of so many epochs, begun or gone on with."""
    folder.mkdir(exist_ok=True)
    app.train(composed([*RUN, f"mode.epochs={epochs}", *more]), folder)
    return checkpoint.load(folder / "last.pt")


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(tmp_path):
    whole = trained(tmp_path / "whole", 2)
    first = trained(tmp_path / "parts", 1)
    resumed = trained(tmp_path / "parts", 2)
    states = [state["method_state_dict"] for state in (whole, first, resumed)]
    learnt = ("criterion.proxies", "flow.couplings.0.by_tail.0.weight", "arch.projection.weight")
    assert all(not torch.equal(states[0][name], states[1][name]) for name in learnt)
    assert all(torch.equal(states[0][name], states[2][name]) for name in states[0])
    with (tmp_path / "parts" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    for row in rows:
        assert 0 < float(row["flow_gradient_share"]) < 1
        terms = 1.0 * float(row["flow_nll"]) + 0.01 * float(row["proxy_loss"])
        assert terms == pytest.approx(float(row["train_loss"]), rel=1e-5)


def test_a_backbone_in_half_precision_leaves_flow_and_proxies_in_float32():
    method = nir().float()
    seen = []
    method.flow.register_forward_pre_hook(lambda _, given: seen.extend(given))
    with torch.autocast("cpu", torch.bfloat16):
        method({"examples": normal(10, 1, 4, 4).float(), "ids": torch.arange(10) % 5}).backward()
    assert [x.dtype for x in seen] == [torch.float32] * 2
    assert method.flow.couplings[0].by_tail[0].weight.grad.dtype == torch.float32


class Loss(nn.Module):
    """The loss of a method as a forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.method = nir(flow={"blocks": 2, "depth": 3, "width": 6, "cond_mode": "dense_embed"})
        self.method.arch.eval()

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.method.loss(self.method.embed(images), labels)


def gradients(module: nn.Module, rank: int) -> list[Tensor]:
    """Of a rank's own images and labels."""
    module(normal(6, 1, 4, 4, seed=rank), (torch.arange(6) + rank) % 5).backward()
    return [p.grad.clone() for p in module.parameters() if p.grad is not None]


def worker(rank: int, port: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.save(
        gradients(nn.parallel.DistributedDataParallel(Loss()), rank), Path(folder) / f"{rank}.pt"
    )
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_average_the_gradients(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(worker, (port, str(tmp_path)), nprocs=2)
    alone = [gradients(Loss(), rank) for rank in range(2)]
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert len(found) == len(alone[0]) == len(list(Loss().parameters()))
        for mine, *each in zip(found, *alone, strict=True):
            torch.testing.assert_close(mine, sum(each) / 2, rtol=1e-9, atol=1e-12)
