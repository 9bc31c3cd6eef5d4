"""Whole runs, with their second stages, in several processes learn what they learn in one.

Batch statistics and gradients are those of the whole batch, so that weights differ by rounding
alone. Where a method draws random numbers in its loss, each process draws
its own: such runs only agree among their processes.
"""

import functools
from contextlib import contextmanager
from importlib.util import find_spec

import pytest
import torch

from tests.cli.test_second_stage import FIRST, SHORT, composed
from tests.training.few_digits import trained
from vmf_embeddings.cli import app
from vmf_embeddings.datasets.arrays import ArraySplit
from vmf_embeddings.training import checkpoint, embed

STAGES = 'stages.second=["mode=finetune","mode.epochs=1","sampler.batch_size=64"]'
TIMM = ["arch=timm", "arch.params.model=mobilenetv3_small_050", "arch.params.in_channels=1"]
TIMM += ["arch.params.embedding_dim=8", "method=classifier", "mode.learning_rate=0.01"]
VIEWS = ["dataset.params.views=2", "sampler=paired", "sampler.batch_size=12"]
ONE_EPOCH = {
    "sam": ["method=classifier", "optimizer=sam", "sampler.batch_size=31"],
    "classifier": ["method=classifier", "loss=balanced_softmax", "feature_scaling=rank"],
    "timm": TIMM,
}
RANDOM = {  # with random numbers in the loss
    "fsgl": ["method=fsgl", *VIEWS, "method.params.projection_dim=8", "optimizer=sam"],
    "vmf_softmax": ["method=vmf_softmax"],
}


@contextmanager
def float64():
    """Inside, networks and images are float64, in which rounding is far from what is tested."""
    normalised, embed_own_rows = ArraySplit._normalised, embed.embed_own_rows
    ArraySplit._normalised = lambda self, images: normalised(self, images).double()
    embed.embed_own_rows = lambda *arguments: embed_own_rows(*arguments).double()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        ArraySplit._normalised, embed.embed_own_rows = normalised, embed_own_rows


def run(name, folder, world):
    with float64():
        return RUNS[name](folder, world)


def weights(folder):
    return checkpoint.load(folder / "last.pt")["method_state_dict"]


def second_stage(folder, world):
    """A first stage, and a head on its frozen backbone."""
    first = folder / f"first_{world}"
    first.mkdir(exist_ok=True)
    # 398 images: no last batch of fewer rows than processes, which would join another
    app.train(composed([*FIRST, "sampler.batch_size=31", "mode.learning_rate=0.05"]), first)
    given = ["mode=finetune", f"run={first}", *SHORT]
    second = first / "finetune"
    second.mkdir(exist_ok=True)
    app.finetune(composed(given), second, given)
    return {**weights(first), **{f"second.{k}": x for k, x in weights(second).items()}}


def both_stages(folder, world):
    own = folder / f"stages_{world}"
    own.mkdir(exist_ok=True)
    cfg = composed([*FIRST, "stages=imbalance", STAGES, "mode.learning_rate=0.05"])
    app.both_stages(cfg, own)
    (second,) = own.glob("*/last.pt")
    return {**weights(own), **{f"second.{k}": x for k, x in weights(second.parent).items()}}


def dive(folder, world):
    teacher, student = folder / f"teacher_{world}", folder / f"student_{world}"
    trained(teacher, "method=classifier", "mode.epochs=1")
    trained(student, "method=dive", f"method.params.teacher={teacher}", "mode.epochs=1")
    return weights(student)


def one_epoch(name, folder, world):
    overrides = (ONE_EPOCH | RANDOM)[name]
    views = 2 if "dataset.params.views=2" in overrides else 1
    trained(folder / f"{name}_{world}", *overrides, "mode.epochs=1", views=views)
    return weights(folder / f"{name}_{world}")


RUNS = {
    **{name: functools.partial(one_epoch, name) for name in ONE_EPOCH | RANDOM},
    **{"finetune": second_stage, "stages": both_stages, "dive": dive},
}
QUICK = ("sam", "finetune")
MISSING = {"timm"} if find_spec("timm") is None else set()


def of_process(rank, world, folder):
    return {name: run(name, folder, world) for name in QUICK}


def of_process_with_all_runs(rank, world, folder):
    return {name: run(name, folder, world) for name in RUNS if name not in MISSING}


def assert_alike(got, expected):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-6, atol=1e-8, msg=name)


@pytest.mark.parametrize("name", QUICK)
def test_a_run_in_two_processes_has_the_weights_of_one(of_two_processes, name, tmp_path):
    alone = run(name, tmp_path, 1)
    for each in of_two_processes["test_runs_in_processes"]:
        assert_alike(each[name], alone)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ONE_EPOCH, "finetune", "stages", "dive"])
def test_more_runs_in_more_processes_have_the_weights_of_one(of_several, name, tmp_path):
    if name in MISSING:
        pytest.skip("timm is missing")
    alone = run(name, tmp_path, 1)
    for each in of_several["test_runs_in_processes"]:
        assert_alike(each[name], alone)


@pytest.mark.slow
@pytest.mark.parametrize("name", RANDOM)
def test_runs_with_random_losses_end_alike_in_all_processes(of_several, name):
    first, *others = (each[name] for each in of_several["test_runs_in_processes"])
    assert all(x.isfinite().all() for x in first.values())
    for other in others:
        assert all(torch.equal(other[key], first[key]) for key in first)
