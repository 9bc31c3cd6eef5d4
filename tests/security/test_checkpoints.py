"""Checkpoints of others are refused by name, with exit code 2, whichever way they come in."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.commands.run import MAIN, refused, succeeds
from tests.security.weight_files import Attack
from vmf_embeddings.training import checkpoint
from vmf_embeddings.training.optimizers import restore
from vmf_embeddings.training.records import Records
from vmf_embeddings.untrusted.refused import Refused

TINY = (
    *("dataset=digits", "arch.params.embedding_dim=4", "mode.epochs=1", "trainer.cpu=true"),
    "sampler.n_episodes=10",
)
RUN = "runs/digits/unnormalized_sce/4dim/run_1"
STATE = {
    "epoch": 1,
    "best_epoch": {"epoch": 1, "train_loss": 0.5, "valid_acc": 0.5},
    "config": "{}",
    "method_state_dict": {"w": torch.ones(2)},
    "optimizer_state_dict": {"state": {}, "param_groups": []},
}
OF_2021 = {
    "epoch": 3,
    "best_epoch": {"epoch": 3, "train_loss": np.float64(0.5), "valid_acc": np.float64(0.5)},
    "arch_state_dict": {"w": torch.ones(2)},
    "z_kappa_mult": np.float32(2.0),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    succeeds(MAIN, *TINY, cwd=folder)
    return folder / RUN


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def written(folder: Path, state: object, name: str = "model_1.pt") -> Path:
    torch.save(state, folder / name)
    return folder


@pytest.mark.parametrize("state", (STATE, OF_2021), ids=("today", "2021"))
def test_checkpoints_of_today_and_of_2021_are_read(tmp_path, state):
    assert checkpoint.load_best(written(tmp_path, state))["epoch"] == state["epoch"]


MEANINGLESS = {
    "a list": [1, 2],
    "a tensor": torch.ones(2),
    "numbers as keys": {1: 2},
    "no epoch": {"config": "{}"},
    "epoch of text": STATE | {"epoch": "../../x"},
    "epoch of truth": STATE | {"epoch": True},
    "negative epoch": STATE | {"epoch": -5},
    "best epoch of text": STATE | {"best_epoch": {"epoch": "1"}},
    "best epoch of lists": STATE | {"best_epoch": {"epoch": 1, "valid_acc": [1]}},
    "best epoch as number": STATE | {"best_epoch": 3},
    "best epoch of a huge number": STATE | {"best_epoch": {"epoch": 1, "valid_acc": 10**400}},
    "best epoch of a complex number": STATE | {"best_epoch": {"epoch": 1, "a": torch.ones(1) * 1j}},
    "lines in a name": STATE | {"best_epoch": {"epoch": 1, "a\nb": 1}},
    "config of bytes": STATE | {"config": 3},
    "config that is no JSON": STATE | {"config": "{"},
    "config of a list": STATE | {"config": "[]"},
    "deeply nested config": STATE | {"config": '{"a":' * 100_000 + "1" + "}" * 100_000},
    "nested config": STATE | {"config": '{"a":' * 500 + "1" + "}" * 500},
    "weights of a list": STATE | {"method_state_dict": [torch.ones(2)]},
    "weights of text": STATE | {"method_state_dict": {"w": "x"}},
    "optimizer of numbers": STATE | {"optimizer_state_dict": {"state": 1, "param_groups": 2}},
    "identity with lines": STATE | {"train_identity": "a\n[INFO] trained well"},
    "identity of a number": STATE | {"train_identity": 3},
    "scale of text": OF_2021 | {"z_kappa_mult": "2"},
}


@pytest.mark.parametrize("what", MEANINGLESS)
def test_values_of_the_wrong_kind_are_refused_with_the_file_named(tmp_path, what):
    with pytest.raises(Refused, match=r"model_1\.pt"):
        checkpoint.load_best(written(tmp_path, MEANINGLESS[what]))


@pytest.mark.parametrize("name", ("model_1.pt", "last.pt", "main.train.log"))
@pytest.mark.parametrize("what", ("pipe", "folder"))
def test_pipes_and_folders_in_place_of_files_are_refused_at_once(tmp_path, name, what):
    for other in ("model_0.pt", "model_2.pt") if name == "last.pt" else ("model_0.pt",):
        written(tmp_path, {k: v for k, v in OF_2021.items() if k != "z_kappa_mult"}, other)
    make: dict[str, Callable[[Path], Any]] = {"pipe": os.mkfifo, "folder": Path.mkdir}
    make[what](tmp_path / name)
    with pytest.raises(Refused, match=f"{name} is not a regular file"):
        checkpoint.load_best(tmp_path)


def test_scale_is_read_from_the_log_of_2021_and_nothing_else_is(tmp_path):
    written(tmp_path, {k: v for k, v in OF_2021.items() if k != "z_kappa_mult"})
    log = tmp_path / "main.train.log"
    log.write_text("[INFO] Set z-kappa-mult: 1.5\n[INFO] Set z-kappa-mult: 2.25e1\n")
    assert checkpoint.load_best(tmp_path)["z_kappa_mult"] == 22.5
    log.write_text("Set z-kappa-mult: " + "-" * 10**6 + "e" * 10**6)
    assert "z_kappa_mult" not in checkpoint.load_best(tmp_path)
    log.write_bytes(b"\xff\xfe")
    with pytest.raises(Refused, match="not UTF-8"):
        checkpoint.load_best(tmp_path)


def test_digits_of_other_scripts_in_a_name_are_no_epoch(tmp_path):
    written(tmp_path, STATE, "model_1.pt")
    written(tmp_path, STATE, "model_².pt")
    assert checkpoint.best_path(tmp_path).name == "model_1.pt"


@pytest.mark.parametrize(
    "line",
    (
        '{"epoch": "x"}',
        "[1]",
        "{",
        '{"epoch": 0, "a": [1]}',
        "[" * 99999,
        '{"epoch": 0, "seconds": 1' + "0" * 400 + "}",
    ),
)
def test_records_that_are_no_numbers_by_name_are_refused(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    with pytest.raises(Refused, match=r"metrics\.jsonl"):
        Records(tmp_path, 1)


def test_records_without_seconds_do_not_stop_a_resumed_run(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 0}\n')
    records = Records(tmp_path, 1)
    records.add({"epoch": 1, "seconds": 3.0})
    records.close()
    assert records.mean_seconds() == 1.5


def test_names_in_records_cannot_be_formulas_or_lines(tmp_path):
    row = {"epoch": 0, "=cmd|' /C calc'!A0": 1.0, "a\nb": 2.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    records = Records(tmp_path, 1)
    records.add({"epoch": 1})
    records.close()
    assert (tmp_path / "metrics.csv").read_text().splitlines()[
        0
    ] == "epoch,'=cmd|' /C calc'!A0,a\\nb"


def spoil(path: Path, **changes: object) -> None:
    state = torch.load(path, weights_only=False)
    torch.save(state | changes, path)


@pytest.mark.parametrize(
    "said",
    (
        ("mode=get_embeddings", "run=run"),
        ("mode=virtual_dist", "run=run"),
        ("mode=crt", "run=run"),
        ("mode=tau_norm", "run=run"),
        ("method=dive", "method.params.teacher=run", *TINY),
    ),
    ids=("get_embeddings", "virtual_dist", "crt", "tau_norm", "teacher"),
)
def test_code_in_the_best_checkpoint_is_refused_in_every_mode(run, said):
    (best,) = run.glob("model_*.pt")
    torch.save({"epoch": 0, "payload": Attack(run.parent / "executed")}, best)
    assert "mkdir" in refused(MAIN, *said, cwd=run.parent)
    assert not (run.parent / "executed").exists()


def test_code_in_the_last_checkpoint_is_refused_on_resume(run):
    spoil(run / "last.pt", payload=Attack(run.parent / "executed"))
    said = (*TINY, f"hydra.run.dir={run}", "mode.epochs=2")
    assert "mkdir" in refused(MAIN, *said, cwd=run.parent)
    assert not (run.parent / "executed").exists()


STORED = {
    "method_state_dict": {"other": torch.ones(2)},
    "optimizer_state_dict": {"state": {}, "param_groups": []},
    "scheduler_state_dict": {"num_bad_epochs": "x"},
    "sampler_state_dict": {"epoch": "x", "seed": 1},
}


@pytest.mark.parametrize("key", STORED)
def test_states_of_other_parts_are_refused_on_resume(run, key):
    spoil(run / "last.pt", **{key: STORED[key]})
    said = (*TINY, f"hydra.run.dir={run}", "mode.epochs=2")
    assert "fit" in refused(MAIN, *said, cwd=run.parent)


def test_weights_of_another_network_are_refused_in_extraction(run):
    (best,) = run.glob("model_*.pt")
    spoil(best, method_state_dict={"\x1b[2Jother": torch.ones(2)})
    complaint = refused(MAIN, "mode=get_embeddings", "run=run", cwd=run.parent)
    assert "do not fit" in complaint
    assert "\x1b" not in complaint


STATES_OF_OTHERS = {
    "another shape": lambda state: state["state"][0].update(momentum_buffer=torch.ones(7)),
    "a huge rate": lambda state: state["param_groups"][0].update(lr=10**400),
    "none": lambda state: state["param_groups"][0].update(momentum=None),
}


@pytest.mark.parametrize("what", STATES_OF_OTHERS)
def test_values_that_an_optimizer_would_stumble_over_are_refused(what):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    weight.grad = torch.ones(3)
    optimizer.step()
    state = optimizer.state_dict()
    restore(optimizer, state)
    STATES_OF_OTHERS[what](state)
    with pytest.raises(Refused, match="optimizer does not fit"):
        restore(optimizer, state)
