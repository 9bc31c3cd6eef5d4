"""A run by the parts of a command: what it selects by, and that interruptions change nothing."""

import json
import logging

import pytest
import torch

from tests.cli.test_second_stage import FIRST, composed
from vmf_embeddings.cli import app, assembly
from vmf_embeddings.cli.assembly import Refused
from vmf_embeddings.training import checkpoint, fit
from vmf_embeddings.training.selection import ValidationScores

SAM = [*FIRST, "optimizer=sam", "schedule=cosine_warmup", "schedule.params.unit=step"]
SAM += ["optimizer.params.rho=[[0,0.05],[2,0.5]]", "mode.epochs=3"]


class Interrupted(Exception):
    """What stands for a kill."""


def test_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, monkeypatch):
    cfg = composed(SAM)
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    straight.mkdir()
    killed.mkdir()
    app.train(cfg, straight)
    keep = checkpoint.keep

    def keep_and_die(run_dir, state, *, is_best):
        keep(run_dir, state, is_best=is_best)
        if state["epoch"] == 1:
            raise Interrupted

    monkeypatch.setattr(fit.checkpoint, "keep", keep_and_die)
    with pytest.raises(Interrupted):
        app.train(cfg, killed)
    monkeypatch.setattr(fit.checkpoint, "keep", keep)
    app.train(cfg, killed)
    ends = [checkpoint.load(folder / "last.pt") for folder in (straight, killed)]
    for key in ("method_state_dict", "optimizer_state_dict"):
        first, second = (flat(end[key]) for end in ends)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first), key
    rows = [json.loads(line) for line in (killed / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert rows[0]["learning_rate"] > rows[1]["learning_rate"] > rows[2]["learning_rate"] > 0
    with pytest.raises(Refused, match=r"mode\.epochs was 3, now 4"):
        app.train(composed([*SAM, "mode.epochs=4"]), killed)


def flat(node, prefix=""):
    """Tensors and numbers of nested dicts and lists, by their places, as tensors."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    found = {}
    for key, value in items:
        if isinstance(value, dict | list | tuple):
            found |= flat(value, f"{prefix}{key}.")
        elif isinstance(value, torch.Tensor | int | float):
            found[f"{prefix}{key}"] = torch.as_tensor(value)
    return found


def test_choice_on_test_is_labelled_wherever_it_shows(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        app.train(composed([*FIRST, "mode.select=test"]), tmp_path)
    state = checkpoint.load_best(tmp_path)
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert state["selected_on"] == "test"
    assert state["best_epoch"]["valid_acc"] == row["test_metric"]
    assert "valid_metric" not in row
    assert "chosen on the test split" in caplog.text
    assert "Test Accuracy: " in caplog.text and ", chosen on test" in caplog.text
    assert "Validation Accuracy" not in caplog.text


@pytest.mark.parametrize(("select", "kept"), [("valid", 0), ("last", 2)])
def test_last_epoch_is_kept_where_no_choice_is_asked_for(
    tmp_path, caplog, monkeypatch, select, kept
):
    # every epoch is as good as the first
    monkeypatch.setattr(fit, "validation_scores", lambda *_, **__: ValidationScores(0.5, 1.0))
    three = ["mode.epochs=3", "mode.patience=3", f"mode.select={select}"]
    with caplog.at_level(logging.INFO):
        app.train(composed([*FIRST, *three]), tmp_path)
    state = checkpoint.load_best(tmp_path)
    assert state["selected_on"] == select
    assert state["epoch"] == state["best_epoch"]["epoch"] == kept
    assert (f"at epoch {kept}" in caplog.text) == (select == "valid")


def test_run_says_which_images_it_was_trained_on(tmp_path, caplog):
    cfg = composed(FIRST)
    with caplog.at_level(logging.INFO):
        app.train(cfg, tmp_path)
    state = checkpoint.load(tmp_path / "last.pt")
    assert state["selected_on"] == "valid"
    assert state["train_identity"] in caplog.text
    checkpoint.save(tmp_path / "last.pt", state | {"train_identity": "f00d" * 16})
    with pytest.raises(Refused, match="other images"):
        app.train(cfg, tmp_path)


def test_a_learned_scale_that_adam_cannot_raise_is_named_before_training(tmp_path, caplog):
    words = "head=tvmf learns its scale from 1.69, and mode.learning_rate=0.001 moves it too slowly"
    adam = [*FIRST, "optimizer=adam", "mode.learning_rate=0.001", "mode.momentum=0.0"]
    for other in (
        [*FIRST, "head=tvmf_k16"],
        [*adam, "head=tvmf_k16", "head.params.scale=16"],
        [*adam, "head=linear"],
        [*adam, "head=tvmf_k16", "mode.epochs=10000"],
    ):
        assembly.training_job(composed(other), tmp_path)
    assert "learns its scale" not in caplog.text
    assembly.training_job(composed([*adam, "head=tvmf_k16"]), tmp_path)
    assert words in caplog.text and "add head.params.scale=16" in caplog.text
