"""Weights & Biases gets project, group, seed and every epoch; a stub module records the calls."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest

from tests.test_configs import composed
from tests.training.test_settings import settings
from vmf_embeddings.training.processes import start
from vmf_embeddings.training.records import Records
from vmf_embeddings.training.trackers import wandb_settings

ROW = {"epoch": 3, "train_loss": 0.5, "test/recall@1": 0.25}
LOGGER = {"trackers": ["wandb"], "project": "birds", "group": "nir", "mode": "auto"}
CONFIG = {"random_seed": 7, "logger": LOGGER}


@pytest.fixture
def no_key(monkeypatch, tmp_path):
    """Neither key nor wish in the environment."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path / "netrc"


@pytest.fixture
def wandb(monkeypatch):
    """A stub of the module that records its calls."""
    calls = SimpleNamespace(init=[], config={}, rows=[], finished=0)

    def finish():
        calls.finished += 1

    def init(**settings):
        calls.init.append(settings)
        return SimpleNamespace(
            log=lambda row, step=None, **_: calls.rows.append((step, row)), finish=finish
        )

    module = ModuleType("wandb")
    module.__spec__ = ModuleSpec("wandb", None)
    module.init = init
    module.config = SimpleNamespace(update=lambda values, **_: calls.config.update(values))
    monkeypatch.setitem(sys.modules, "wandb", module)
    return calls


def test_group_seed_and_rows_reach_the_service(wandb, no_key, tmp_path):
    assert settings("logger=wandb").trackers == ("wandb",)
    start(cpu=True)  # as a run does: trackers ask whether theirs is the first process
    records = Records(tmp_path, trackers=("wandb",), config=CONFIG)
    records.add(ROW)
    records.close()
    begun = {"project": "birds", "group": "nir", "name": "nir_s7", "mode": "offline"}
    assert wandb.init == [begun | {"dir": str(tmp_path)}]
    assert wandb.config == CONFIG
    assert wandb.rows == [(3, ROW)]
    assert wandb.finished == 1


def test_mode_follows_key_environment_and_wish(no_key, monkeypatch, tmp_path):
    def mode(**logger):
        return wandb_settings(tmp_path, {"logger": LOGGER | logger})["mode"]

    assert mode() == "offline"
    assert mode(mode="online") == "online"
    no_key.write_text("machine elsewhere.org login user password word\n")
    assert mode() == "offline"
    no_key.write_text("machine api.wandb.ai login user password word\n")
    assert mode() is None
    no_key.unlink()
    monkeypatch.setenv("WANDB_API_KEY", "word")
    assert mode() is None
    assert mode(mode="offline") == "offline"
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("WANDB_MODE", "online")
    assert mode() is None


def test_unknown_mode_is_refused_before_work(wandb):
    with pytest.raises(ValueError, match=r"logger\.mode is one of auto, online"):
        settings("logger=wandb", "logger.mode=sometimes")


def test_without_a_group_the_folder_gives_the_name(no_key, tmp_path):
    node = composed(["logger=wandb"]).logger
    found = wandb_settings(tmp_path, {"random_seed": 1, "logger": dict(node)})
    assert (found["run_name"], found["group"], found["name"]) == (
        "vmf_embeddings",
        None,
        tmp_path.name,
    )


def test_tracker_that_is_not_installed_is_refused_with_the_command(monkeypatch):
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr("vmf_embeddings.training.settings.find_spec", lambda _: None)
    with pytest.raises(ValueError, match="wandb is not installed: pip install wandb"):
        settings("logger=wandb")
    assert settings().trackers == ()
