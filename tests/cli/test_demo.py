"""`experiment=demo` trains every method with no further key; values on the command line win."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.cli.test_second_stage import composed
from tests.quick_cases import mostly_slow
from vmf_embeddings import catalogue
from vmf_embeddings.cli import app, assembly
from vmf_embeddings.cli.assembly import Refused
from vmf_embeddings.cli.run_config import configuration_of_run

METHODS = [name for name in catalogue.names("method") if name != "dive"]  # dive needs a teacher
# epochs after which a method of the demo reaches 0.9 (accuracy, or Recall@1 without classes)
FEW_EPOCHS = {
    **{"classifier": 1, "hyperbolic_sce": 1, "unnormalized_sce": 1},
    **{"dml": 2, "pml": 2},
}
OPTIONAL = {"pml": "pytorch_metric_learning"}


def demo(name: str, *overrides: str):
    if name in OPTIONAL:
        pytest.importorskip(OPTIONAL[name])
    cfg = composed(["experiment=demo", f"method={name}", *overrides])
    cfg.num_workers = 0
    return cfg


@pytest.mark.parametrize("name", METHODS)
def test_demo_builds_a_job_of_every_method_whose_records_state_use_vmf(name, tmp_path):
    job = assembly.training_job(demo(name), tmp_path)
    assert job.method.name == name
    assert job.config["arch"]["params"]["use_vmf"] is job.method.uses_vmf


QUICK_METHODS = ("arcface", "dml", "vmf_softmax")


@pytest.mark.parametrize("name", mostly_slow(METHODS, QUICK_METHODS))
def test_agreeing_use_vmf_gives_the_configuration_of_none(name, tmp_path):
    job = assembly.training_job(demo(name), tmp_path)
    typed = f"arch.params.use_vmf={job.method.uses_vmf}"
    assert assembly.training_job(demo(name, typed), tmp_path).config == job.config


@pytest.mark.parametrize("name", ["arcface", "vmf_softmax"])
def test_use_vmf_against_the_method_is_refused(name, tmp_path):
    wrong = assembly.training_job(demo(name), tmp_path).method.uses_vmf is False
    with pytest.raises(Refused, match="leave arch.params.use_vmf out of the command"):
        assembly.training_job(demo(name, f"arch.params.use_vmf={wrong}"), tmp_path)


@pytest.mark.parametrize("name", mostly_slow(METHODS, QUICK_METHODS))
def test_values_of_the_command_line_win_over_those_of_the_demo(name):
    cfg = demo(name, "mode.learning_rate=0.125", "arch.params.embedding_dim=7")
    assert (cfg.mode.learning_rate, cfg.arch.params.embedding_dim) == (0.125, 7)


def test_a_sampler_of_the_command_line_has_no_keys_of_the_demos_sampler():
    assert set(demo("arcface", "sampler=random").sampler) == {"name", "_target_", "batch_size"}


def test_a_run_is_resumed_whether_use_vmf_is_typed_or_not(tmp_path):
    first = app.train(demo("normalized_sce", "mode.epochs=1"), tmp_path)
    typed = demo("normalized_sce", "mode.epochs=1", "arch.params.use_vmf=false")
    assert app.train(typed, tmp_path) == first


@pytest.mark.parametrize(
    ("typed", "is_refused"), [("null", False), ("false", False), ("true", True)]
)
def test_a_later_command_may_repeat_what_use_vmf_was(typed, is_refused):
    stored = demo("arcface", "arch.params.use_vmf=false")
    checkpoint = {"config": json.dumps(OmegaConf.to_container(stored, resolve=True))}
    override = f"arch.params.use_vmf={typed}"
    arguments = (demo("arcface", override), Path("run"), checkpoint, [override])
    if is_refused:
        with pytest.raises(Refused, match=r"use_vmf=True.*trained with arch.params.use_vmf=False"):
            configuration_of_run(*arguments)
    else:
        assert configuration_of_run(*arguments).arch.params.use_vmf is False


@pytest.mark.parametrize("name", mostly_slow(FEW_EPOCHS, ("dml", "unnormalized_sce")))
def test_demo_reaches_090_in_few_epochs(name, tmp_path):
    cfg = demo(name, f"mode.epochs={FEW_EPOCHS[name]}")
    assert app.train(cfg, tmp_path) >= 0.9


def test_demo_trains_dive_with_its_teacher_alone(tmp_path):
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    for folder in (teacher, student):
        folder.mkdir()
    app.train(demo("classifier", "mode.epochs=1"), teacher)
    cfg = demo("dive", f"method.params.teacher={teacher}", "mode.epochs=1")
    assert app.train(cfg, student) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_demo_reaches_090_with_every_method(name, tmp_path):
    assert app.train(demo(name), tmp_path) >= 0.9


def test_files_of_the_demo_belong_to_options_that_exist():
    folders = sorted((Path(catalogue.CONF) / "experiment").glob("by_*"))
    for folder in folders:
        known = catalogue.names(folder.name.removeprefix("by_"))
        for path in folder.glob("demo_*.yaml"):
            assert path.stem.removeprefix("demo_") in known
    assert [folder.name for folder in folders] == ["by_criterion", "by_method", "by_sampler"]
