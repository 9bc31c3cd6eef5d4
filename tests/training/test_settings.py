"""A value that the loop cannot use is refused by its full name before work starts."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.test_configs import CONF
from vmf_embeddings.cli import assembly
from vmf_embeddings.training.settings import TrainingSettings


def settings(*overrides: str) -> TrainingSettings:
    assembly.register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(compose("config", list(overrides)), resolve=True)
    return TrainingSettings.from_config(config)


def test_defaults_are_accepted():
    assert settings().epochs == 1000


@pytest.mark.parametrize(
    "override",
    [
        "mode.epochs=-1",
        "mode.patience=null",
        "mode.temp_learning_rate=-0.1",
        "mode.select=train",
        "trainer.precision=fp16",
        "trainer.eval_batch_size=0",
        "random_seed=-1",
        "random_seed=null",
        "num_workers=-1",
        "trainer.precision=bf8",
        "trainer.threads=0",
        "trainer.threads=1.5",
        "trainer.channels_last=yes_please",
        "trainer.data_on_device=often",
        "search=fais",
        "resume=always",
        "mode.class_weight_decay=most",
        "logger.trackers=[wand]",
        "mode.warmup_epochs=-1",
        "mode.evaluate_on=[all]",
        "mode.evaluate_k=[0]",
        "mode.evaluate_k=[]",
    ],
)
def test_unusable_value_is_refused_by_its_name(override):
    with pytest.raises(ValueError, match=override.split("=")[0]):
        settings(override)
