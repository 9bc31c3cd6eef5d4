"""NIR in the loop: resumed runs, its columns in the records, autocast."""

import csv
from pathlib import Path

import pytest
import torch

from tests.cli.test_second_stage import composed
from tests.methods.laws import normal
from tests.methods.test_nir import nir
from vmf_embeddings.cli import app
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
