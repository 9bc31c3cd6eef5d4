"""Whatever is trained, an interrupted run ends with the bits of an uninterrupted one."""

from importlib.util import find_spec

import pytest
import torch

from tests.cli.test_training_job import flat
from tests.training.few_digits import trained
from vmf_embeddings import catalogue
from vmf_embeddings.training import checkpoint, fit

METRIC = ["method=dml", "sampler=m_per_class", "sampler.batch_size=20"]
PML = "method.params.loss={class: CrossBatchMemory, loss: ContrastiveLoss, memory_size: 100}"
VIEWS = ["dataset.params.views=2", "sampler=paired", "sampler.batch_size=16"]
BY_METHOD = {
    "dml": METRIC,
    "nir": [*METRIC[1:], "criterion=proxy_anchor", "method.params.proxy_lr_factor=10"],
    "fsgl": [*VIEWS, "method.params.projection_dim=8"],
    "pml": [PML],
    "bcl": ["dataset.params.views=3"],
    "paco": ["dataset.params.views=2", "method.params.momentum=0.9", "method.params.queue=50"],
    "proco": ["dataset.params.views=3"],
}
NEEDS = {"pml": "pytorch_metric_learning"}
SECOND_STAGE = ("lws", "ncm", "vmf_bayes")  # heads of a second stage
OF_STAGES = ("meta",)  # a sampler of a second stage


def every(group, *overrides, but=()):
    """Name -> overrides, one for every option of a group that takes part in training."""
    names = [name for name in catalogue.names(group) if name not in but]
    return {f"{group}={name}": [*overrides, f"{group}={name}"] for name in names}


def of_methods():
    options = every("method", but=("dive",))  # dive has a run of its own below
    found = {key: [*own, *BY_METHOD.get(own[0][7:], [])] for key, own in options.items()}
    found["method=nir"] += ["method.params.flow_lr_factor=0.5", "mode.learning_rate=0.001"]
    return found


def of_groups():
    linear = "method=classifier"
    groups = ("loss", "head", "feature_scaling", "optimizer", "schedule")
    return {
        key: value
        for group in groups
        for key, value in every(group, linear, but=SECOND_STAGE).items()
    }


RUNS = {
    **of_methods(),
    **every("criterion", *METRIC, "mode.learning_rate=1e-5"),
    **every("miner", *METRIC, "criterion=triplet"),
    **every("sampler", "method=dml", "criterion=margin", but=OF_STAGES),
    **of_groups(),
}
RUNS["sampler=m_per_class"] += ["sampler.batch_size=20"]
RUNS["memory"] = [*METRIC, "criterion=margin", "method.params.memory_size=50"]
RUNS["memory"] += ["method.params.memory_start=3"]
RUNS["loss=ldam"] += ["head=cosine"]
QUICK = ("method=pml", "method=fsgl", "optimizer=sam", "sampler=greedy_coreset", "memory")
QUICK += ("method=paco",)


class Interrupted(Exception):
    """What stands for a kill."""


def ends_alike(tmp_path, monkeypatch, overrides, n_epochs):
    """Trains straight on, and again with an interruption half way; compares the last states."""
    overrides = [*overrides, f"mode.epochs={n_epochs}"]
    views = next((int(o[-1]) for o in overrides if o.startswith("dataset.params.views=")), 1)
    trained(tmp_path / "straight", *overrides, views=views)
    keep = checkpoint.keep

    def keep_and_die(run_dir, state, *, is_best):
        keep(run_dir, state, is_best=is_best)
        if state["epoch"] + 1 == n_epochs // 2:
            raise Interrupted

    monkeypatch.setattr(fit.checkpoint, "keep", keep_and_die)
    with pytest.raises(Interrupted):
        trained(tmp_path / "killed", *overrides, views=views)
    monkeypatch.setattr(fit.checkpoint, "keep", keep)
    torch.manual_seed(99)
    trained(tmp_path / "killed", *overrides, views=views)
    ends = [checkpoint.load(tmp_path / name / "last.pt") for name in ("straight", "killed")]
    for key in ("method", "optimizer", "scheduler", "sampler"):
        first, second = (flat(end[f"{key}_state_dict"]) for end in ends)
        assert first.keys() == second.keys()
        unequal = [name for name in first if not torch.equal(first[name], second[name])]
        assert not unequal, (key, unequal[:5])
    assert ends[0]["best_epoch"] == ends[1]["best_epoch"]


def skip_without_library(name):
    if find_spec(NEEDS.get(name.partition("=")[2], "torch")) is None:
        pytest.skip("an optional library is missing")


@pytest.mark.parametrize("name", QUICK)
def test_one_epoch_and_one_more_are_two(tmp_path, monkeypatch, name):
    skip_without_library(name)
    ends_alike(tmp_path, monkeypatch, RUNS[name], 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_two_epochs_and_two_more_are_four(tmp_path, monkeypatch, name):
    skip_without_library(name)
    ends_alike(tmp_path, monkeypatch, RUNS[name], 4)


@pytest.mark.slow
def test_a_student_resumes_exactly_too(tmp_path, monkeypatch):
    trained(tmp_path / "teacher", "method=classifier", "mode.epochs=1")
    student = ["method=dive", f"method.params.teacher={tmp_path / 'teacher'}"]
    ends_alike(tmp_path, monkeypatch, student, 4)
