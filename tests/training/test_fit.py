"""Evaluating more splits changes nothing; a warm-up does not change the backbone."""

import json
import logging

import pytest
import torch

from tests.cli.test_second_stage import composed
from tests.cli.test_training_job import flat
from vmf_embeddings.cli import app
from vmf_embeddings.cli.assembly import Refused
from vmf_embeddings.training import checkpoint, fit

RUN = [
    *("dataset=digits_open", "method=dml", "criterion=proxy_anchor", "arch=n_digit_mnist"),
    *("arch.params.embedding_dim=8", "trainer.cpu=true", "trainer.threads=1", "optimizer=adam"),
    *("sampler=class_random", "sampler.batch_size=20", "mode.weight_decay=0.1", "mode.epochs=1"),
    "criterion.params.lr_factor=10",
]


def trained(folder, *overrides):
    """The last state of a run, and the rows of its records."""
    folder.mkdir()
    app.train(composed([*RUN, *overrides]), folder)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return checkpoint.load(folder / "last.pt"), [json.loads(line) for line in lines]


def test_evaluating_more_splits_changes_nothing_and_the_log_says_so(tmp_path, caplog):
    plain, (row,) = trained(tmp_path / "plain")
    with caplog.at_level(logging.INFO):
        asked = "mode.evaluate_on=[train,valid,test]", "mode.evaluate_k=[1,4]"
        state, (more,) = trained(tmp_path / "watched", *asked)
    first, second = flat(plain["method_state_dict"]), flat(state["method_state_dict"])
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert row["valid_metric"] == more["valid_metric"] == more["valid/recall@1"]
    new = {f"{split}/recall@{k}" for split in ("train", "valid", "test") for k in (1, 4)}
    assert more.keys() - row.keys() == new
    assert all(more[f"{s}/recall@1"] <= more[f"{s}/recall@4"] for s in ("train", "valid", "test"))
    assert "test/recall@4" in (tmp_path / "watched" / "metrics.csv").read_text().splitlines()[0]
    assert "only for the records" in caplog.text
    others = caplog.text.split("not used for selection: ")[1].splitlines()[0]
    assert "train/recall@1" in others and "test/recall@4" in others and "valid/" not in others
    assert state["optimizer_state_dict"]["param_groups"][-1]["lr"] == pytest.approx(0.01)


def test_warm_up_moves_embedding_layer_and_proxies_alone(tmp_path, monkeypatch):
    states = {}
    keep = checkpoint.keep

    def remember(run_dir, state, *, is_best):
        copies = {k: v.clone() for k, v in state["method_state_dict"].items()}
        states[state["epoch"]] = copies
        keep(run_dir, state, is_best=is_best)

    def note_start(*args, **kwargs):
        loop = assemble(*args, **kwargs)
        states[-1] = {k: v.clone() for k, v in loop.method.state_dict().items()}
        learnable = {n for n, _ in loop.method.named_parameters()}
        layer = {id(p) for p in loop.method.arch.embedding_parameters()}
        own = {n for n, p in loop.method.named_parameters() if id(p) in layer}
        states["late"] = {n for n in learnable - own if n.startswith("arch.")}
        states["soon"] = learnable - states["late"]
        return loop

    assemble = fit.assemble
    monkeypatch.setattr(fit.checkpoint, "keep", remember)
    monkeypatch.setattr(fit, "assemble", note_start)
    trained(tmp_path / "run", "mode.epochs=2", "mode.warmup_epochs=1")
    assert states["late"] and len(states["soon"]) >= 2
    for name in states["late"]:
        assert torch.equal(states[0][name], states[-1][name]), name
        assert not torch.equal(states[1][name], states[0][name]), name
    for name in states["soon"]:
        assert not torch.equal(states[0][name], states[-1][name]), name


def test_split_that_is_not_there_is_refused_before_work(tmp_path):
    with pytest.raises(Refused, match="mode.evaluate_on is one of"):
        trained(tmp_path / "run", "mode.evaluate_on=[all]")
