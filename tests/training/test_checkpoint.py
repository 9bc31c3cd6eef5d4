"""Checkpoints hold no code, appear whole, and say which run they belong to."""

import json
import os
import pickle

import numpy as np
import pytest
import torch

from vmf_embeddings.training import checkpoint
from vmf_embeddings.untrusted.refused import Refused


class Attack:
    """Unpickling this would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def state(epoch, best):
    return {"epoch": epoch, "best_epoch": {"epoch": best}, "config": "{}", "w": torch.ones(2)}


def test_a_damaged_checkpoint_is_refused_with_what_becomes_of_the_run_without_it(tmp_path):
    checkpoint.save(tmp_path / checkpoint.LAST, {"epoch": 3})
    (tmp_path / checkpoint.INTERRUPTED).write_bytes(b"half")
    with pytest.raises(Refused, match="interrupted.pt .*Without that file, training goes on"):
        checkpoint.latest(tmp_path)
    (tmp_path / checkpoint.INTERRUPTED).unlink()
    assert checkpoint.latest(tmp_path)[0].name == checkpoint.LAST


def test_pickled_code_is_refused_and_not_run(tmp_path):
    mark = tmp_path / "executed"
    torch.save({"epoch": 1, "payload": Attack(str(mark))}, tmp_path / "model_1.pt")
    with pytest.raises(ValueError, match="not loaded"):
        checkpoint.load(tmp_path / "model_1.pt")
    (tmp_path / "model_2.pt").write_bytes(pickle.dumps(Attack(str(mark))))
    with pytest.raises(ValueError, match=r"model_2\.pt"):
        checkpoint.load(tmp_path / "model_2.pt")
    assert not mark.exists()


def test_numpy_scalars_of_2021_are_read(tmp_path):
    torch.save({"best_epoch": {"train_loss": np.float64(0.25)}}, tmp_path / "model_3.pt")
    assert checkpoint.load(tmp_path / "model_3.pt")["best_epoch"]["train_loss"] == 0.25


def test_only_the_best_and_the_last_state_are_kept(tmp_path):
    checkpoint.keep(tmp_path, state(0, 0), is_best=True)
    checkpoint.keep(tmp_path, state(1, 0), is_best=False)
    assert checkpoint.best_path(tmp_path).name == "model_0.pt"
    checkpoint.keep(tmp_path, state(2, 2), is_best=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "model_2.pt"]


def test_kill_between_best_and_last_leaves_the_run_consistent(tmp_path):
    checkpoint.keep(tmp_path, state(0, 0), is_best=True)
    checkpoint.save(tmp_path / "model_1.pt", state(1, 1))  # killed before last.pt was written
    assert checkpoint.best_path(tmp_path).name == "model_0.pt"


def test_half_written_file_is_never_taken_for_a_checkpoint(tmp_path):
    (tmp_path / ".last.pt.part").write_bytes(b"half")
    assert checkpoint.last_state(tmp_path, {}, "a") is None


def test_other_configuration_is_refused_but_more_epochs_are_not(tmp_path):
    stored = json.dumps({"mode": {"epochs": 3, "learning_rate": 0.1}, "name": "a"})
    checkpoint.refuse_other_configuration(
        tmp_path, stored, {"mode": {"epochs": 9, "learning_rate": 0.1}, "name": "b"}
    )
    with pytest.raises(ValueError, match=r"mode\.learning_rate was 0\.1, now 0\.2"):
        checkpoint.refuse_other_configuration(
            tmp_path, stored, {"mode": {"epochs": 3, "learning_rate": 0.2}, "name": "a"}
        )


def test_curve_of_another_length_is_refused(tmp_path):
    stored = {"mode": {"epochs": 3}, "schedule": {"name": "cosine"}}
    checkpoint.save(tmp_path / "last.pt", state(0, 0) | {"config": json.dumps(stored)})
    longer = stored | {"mode": {"epochs": 9}}
    assert checkpoint.last_state(tmp_path, longer, "a")["epoch"] == 0
    with pytest.raises(ValueError, match=r"mode\.epochs was 3, now 9"):
        checkpoint.last_state(tmp_path, longer, "a", same_length=True)


def test_run_begun_before_there_was_a_choice_goes_on_as_it_was(tmp_path):
    stored = json.dumps({"mode": {"learning_rate": 0.1}, "random_seed": 1})
    now = {"mode": {"learning_rate": 0.1, "select": "valid"}, "random_seed": 1}
    now["schedule"] = {"name": "plateau", "params": {"factor": 0.5}}
    checkpoint.refuse_other_configuration(tmp_path, stored, now)
    with pytest.raises(ValueError, match=r"mode\.select was 'valid', now 'test'"):
        checkpoint.refuse_other_configuration(tmp_path, stored, now | {"mode": {"select": "test"}})
    with pytest.raises(ValueError, match=r"schedule\.name was 'plateau', now 'cosine'"):
        checkpoint.refuse_other_configuration(
            tmp_path, stored, now | {"schedule": {"name": "cosine"}}
        )


def test_other_training_images_are_refused(tmp_path):
    checkpoint.save(tmp_path / "last.pt", state(0, 0) | {"train_identity": "f00d" * 16})
    assert checkpoint.last_state(tmp_path, {}, "f00d" * 16)["epoch"] == 0
    with pytest.raises(ValueError, match="f00df00df00d.*beefbeefbeef"):
        checkpoint.last_state(tmp_path, {}, "beef" * 16)
    checkpoint.save(tmp_path / "last.pt", state(0, 0))  # of a run that did not say
    assert checkpoint.last_state(tmp_path, {}, "beef" * 16)["epoch"] == 0


def test_two_names_of_one_state_are_replaced_apart(tmp_path, monkeypatch):
    def kept(epoch, best):
        state = {"epoch": epoch, "best_epoch": {"epoch": best}, "method_state_dict": {}}
        checkpoint.keep(tmp_path, state, is_best=epoch == best)
        epochs = {path.name: checkpoint.load(path)["epoch"] for path in tmp_path.glob("*.pt")}
        assert epochs == {"last.pt": epoch, f"model_{best}.pt": best}

    kept(0, 0)
    assert (tmp_path / "last.pt").samefile(tmp_path / "model_0.pt")
    kept(1, 0)
    kept(2, 2)

    def no_links(*paths):
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    kept(3, 3)
    assert not (tmp_path / "last.pt").samefile(tmp_path / "model_3.pt")
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt", "model_3.pt"}


NEWER_KEYS = {
    "arch": {
        "name": "resnet18",
        "params": {"projection": "linear", "frozen": False, "trainable_from": None},
    },
    "dataset": {
        "name": "folder",
        "params": {"normalisation": "data", "interpolation": "bilinear", "crop_fraction": None},
    },
    "trainer": {"feature_cache": "auto", "feature_cache_dir": "somewhere", "feature_views": 0}
    | {"micro_batches": 1, "activation_checkpointing": False, "shard_backbone": False}
    | {"shard_classes": False, "save_minutes": 30, "cuda_graph": False}
    | {"sampled_classes": None, "sampled_correction": True},
}


def test_a_run_from_before_frozen_backbones_resumes_unless_one_is_asked_for(tmp_path):
    older = {"arch": {"name": "resnet18"}, "dataset": {"name": "folder"}, "trainer": {}}
    older["trainer"]["cpu"] = True
    stored = json.dumps(older)
    checkpoint.refuse_other_configuration(tmp_path, stored, NEWER_KEYS)
    frozen = json.loads(json.dumps(NEWER_KEYS))
    frozen["arch"]["params"]["frozen"] = True
    with pytest.raises(ValueError, match="arch.params.frozen was False, now True"):
        checkpoint.refuse_other_configuration(tmp_path, stored, frozen)
