"""`vmf.train`: the command line as a function, on a data set of the caller's own too."""

import logging

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import vmf_embeddings as vmf
from vmf_embeddings.datasets.arrays import ArraySplit
from vmf_embeddings.datasets.base import Dataset

QUICK = [
    *("mode.epochs=1", "num_workers=0", "trainer.cpu=true", "sampler=random", "mode.patience=1"),
    *("sampler.batch_size=16", "method=unnormalized_sce", "mode.learning_rate=0.01"),
    *("arch=n_digit_mnist", "arch.params.n_classes=null", "arch.params.embedding_dim=4"),
]


class Squares(Dataset):
    """Grey images whose class is their brightness."""

    name = "squares"
    image_shape = (1, 28, 28)

    def check(self) -> None:
        """All is in memory."""

    def _make_split(self, name: str, augment: bool) -> ArraySplit:
        labels = torch.arange(48) % 3
        images = (labels * 100)[:, None, None, None].expand(48, 1, 28, 28).to(torch.uint8)
        return ArraySplit(
            images.contiguous(),
            labels,
            identity="squares",
            n_classes=3,
            class_names=["a", "b", "c"],
        )


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VMF_RUNS", str(tmp_path / "runs"))
    return tmp_path


def test_a_data_set_of_ones_own_is_trained_on_and_its_run_is_returned(elsewhere):
    before = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    level = logging.getLogger("vmf_embeddings").level
    run = vmf.train(QUICK, dataset=Squares(margin_warmup_epochs=0))
    assert run.class_names == ["a", "b", "c"] and run.n_classes == 3
    assert run.config["dataset"]["name"] == "squares"
    assert run.folder.is_relative_to(elsewhere / "runs") and "squares" in run.folder.parts
    assert "Epoch 0" in (run.folder / "main.train.log").read_text()
    inputs = torch.full((2, 1, 28, 28), 0.5)
    np.testing.assert_array_equal(run.embed(inputs), vmf.load(run.folder).embed(inputs))
    assert (GlobalHydra.instance().hydra, HydraConfig.instance().cfg) == before
    assert logging.getLogger("vmf_embeddings").level == level


WRONG = [
    (lambda: vmf.train("experiment=demo"), "expected a list of texts"),
    (lambda: vmf.train(["-m", "random_seed=1,2"]), "sweeps"),
    (lambda: vmf.train(["method=arcfce"]), "did you mean"),
    (lambda: vmf.train(["mode.epochz=3"]), "epochz"),
    (lambda: vmf.train(["mode.epochs=ten"]), "whole number"),
    (lambda: vmf.train(["mode=get_embeddings"]), "trains nothing"),
    (lambda: vmf.train(QUICK, dataset=[1, 2]), "dataset: expected an instance"),
    (
        lambda: vmf.train(["dataset=cifar10"], dataset=Squares(margin_warmup_epochs=0)),
        "leave it out",
    ),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_a_mistake_is_a_value_error_before_anything_is_trained(call, message, elsewhere):
    with pytest.raises(ValueError, match=message):
        call()
    assert not list(elsewhere.rglob("*.pt"))
