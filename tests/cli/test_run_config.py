"""Runs from before a key was there are understood, and continued."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.test_configs import CONF
from vmf_embeddings.cli import assembly
from vmf_embeddings.cli.run_config import configuration_of_run
from vmf_embeddings.training.checkpoint import refuse_other_configuration

SINCE = {
    "arch": ("pool", "normalize"),
    "dataset": ("validation", "valid_share", "valid_seed", "normalisation"),
}


@pytest.fixture
def today():
    assembly.register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", ["arch=resnet18", "dataset=cub200", "arch.params.in_channels=1"])


def of_an_older_run(cfg, *also: str) -> dict:
    """The configuration as such a run kept it."""
    config = OmegaConf.to_container(cfg, resolve=False)
    for group, keys in SINCE.items():
        for key in keys:
            del config[group]["params"][key]
    for key in also:
        del config["dataset"]["params"][key]
    return config


def test_keys_that_came_later_take_the_values_of_their_files(today):
    old = of_an_older_run(today, "augment")
    own = configuration_of_run(today, Path("run"), {"config": json.dumps(old)}, [])
    assert own.arch == today.arch and own.dataset == today.dataset
    assert own.arch.params.in_channels == 1 and own.dataset.params.augment == "cub"


def test_a_run_from_before_they_came_goes_on(today):
    now = OmegaConf.to_container(today, resolve=False)
    stored = json.dumps(of_an_older_run(today))
    refuse_other_configuration(Path("run"), stored, now)
    now["arch"]["params"]["pool"] = "double"
    with pytest.raises(ValueError, match="arch.params.pool was 'avg', now 'double'"):
        refuse_other_configuration(Path("run"), stored, now)


def test_an_influence_balanced_run_from_before_class_weights_keeps_its_loss():
    """It was trained without them: its checkpoint has no class counts, and today's default has."""
    assembly.register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["experiment=digits_lt", "loss=ib", "arch.params.embedding_dim=8"])
    now = OmegaConf.to_container(cfg, resolve=False)
    then = json.loads(json.dumps(now))
    del then["loss"]["params"]["class_weights"], then["loss"]["params"]["beta"]
    own = configuration_of_run(cfg, Path("run"), {"config": json.dumps(then)}, [])
    loss = assembly.instantiate("loss", own.loss)
    assert loss.class_weights is None and not loss.state_dict()
    with pytest.raises(ValueError, match="loss.params.class_weights was 'none', now 'inverse'"):
        refuse_other_configuration(Path("run"), json.dumps(then), now)
    now["loss"]["params"]["class_weights"] = "none"
    refuse_other_configuration(Path("run"), json.dumps(then), now)


def test_a_run_from_before_auto_factors_goes_on_where_they_mean_the_same_rate():
    """The published factors were the defaults, for a learning rate of 1e-5."""
    assembly.register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["experiment=digits_open", "criterion=proxy_anchor"])
    then, now = (OmegaConf.to_container(cfg, resolve=False) for _ in range(2))
    then["criterion"]["params"]["lr_factor"] = 2000.0
    assert now["criterion"]["params"]["lr_factor"] == "auto"
    with pytest.raises(ValueError, match="lr_factor was 2000.0, now 'auto'"):
        refuse_other_configuration(Path("run"), json.dumps(then), now)
    then["mode"]["learning_rate"] = now["mode"]["learning_rate"] = 1e-5
    refuse_other_configuration(Path("run"), json.dumps(then), now)
    then["criterion"]["params"]["lr_factor"] = 100.0
    with pytest.raises(ValueError, match="lr_factor was 100.0, now 'auto'"):
        refuse_other_configuration(Path("run"), json.dumps(then), now)
