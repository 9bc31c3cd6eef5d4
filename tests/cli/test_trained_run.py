"""A run as teacher: its student learns, other images are refused, extraction works without it."""

import json
import shutil

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from tests.test_configs import CONF
from vmf_embeddings.cli import assembly, trained_run
from vmf_embeddings.cli.assembly import Refused
from vmf_embeddings.extract import extract
from vmf_embeddings.training import checkpoint
from vmf_embeddings.training.checkpoint import load_best
from vmf_embeddings.training.fit import fit
from vmf_embeddings.virtual_distribution.run import virtual_distribution

SHORT = [
    "experiment=digits_lt", "arch.params.embedding_dim=8", "mode.epochs=1", "trainer.cpu=True",
]  # fmt: skip


def composed(*overrides: str):
    assembly.register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*SHORT, *overrides])


def train(folder, *overrides: str):
    folder.mkdir(parents=True, exist_ok=True)
    fit(assembly.training_job(composed(*overrides), folder))
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A teacher of balanced softmax, and a student of it."""
    folder = tmp_path_factory.mktemp("home")
    teacher = train(folder / "teacher", "loss=balanced_softmax")
    train(folder / "student", "method=dive", f"method.params.teacher={teacher}")
    return folder


def weights(folder):
    return load_best(folder)["method_state_dict"]


def test_student_is_a_classifier_under_balanced_softmax_unless_told_otherwise(home):
    config = json.loads(load_best(home / "student")["config"])
    assert config["loss"]["name"] == "balanced_softmax"
    assert config["method"]["params"]["student"]["name"] == "classifier"
    other = composed("method=dive", "loss=ce", "method@method.params.student=vmf_softmax")
    assert (other.loss.name, other.method.params.student.name) == ("ce", "vmf_softmax")


def test_checkpoint_holds_the_student_alone(home):
    mine, teachers = weights(home / "student"), weights(home / "teacher")
    own = {key for key in mine if key.startswith("student.")}
    assert own == {f"student.{key}" for key in teachers}
    assert mine.keys() - own == {key for key in teachers if key.startswith("arch.")}  # its alias
    learnt = [key for key in own if key.endswith("weight")]
    assert not any(torch.equal(mine[k], teachers[k.removeprefix("student.")]) for k in learnt)


def test_student_is_extracted_after_the_teacher_has_gone(home, tmp_path):
    shutil.copytree(home / "student", tmp_path / "student")
    (home / "teacher").rename(home / "away")
    try:
        cfg = composed("mode=get_embeddings", f"run={tmp_path / 'student'}")
        (path,) = extract(assembly.extraction_job(cfg, tmp_path / "student", []))
    finally:
        (home / "away").rename(home / "teacher")
    with np.load(path) as data:
        assert data["logits"].shape[1:] == (10,)
        assert json.loads(str(data["meta"]))["method"] == "dive"


def test_a_resumed_student_ends_with_the_weights_of_an_uninterrupted_one(home, tmp_path):
    taught = ("method=dive", f"method.params.teacher={home / 'teacher'}", "schedule=constant")
    train(tmp_path / "resumed", *taught)  # one epoch; the teacher's folder is read again below
    for name in ("resumed", "straight"):
        train(tmp_path / name, *taught, "mode.epochs=2")
    resumed, straight = (
        torch.load(tmp_path / name / "last.pt", weights_only=True)["method_state_dict"]
        for name in ("resumed", "straight")
    )
    assert all(torch.equal(resumed[key], straight[key]) for key in straight)


@pytest.mark.parametrize(
    ("override", "message"),
    (
        ("dataset.params.imbalance_factor=10", "was trained on other images"),
        ("dataset.params.subset=glmc", "the teacher .* they would leak"),
        ("arch.params.n_classes=12", "has 10 classes, this student 12"),
        ("method.params.teacher=nowhere", "no such folder"),
        ("method.params.teacher=null", r"add method.params.teacher=RUN"),
    ),
)
def test_a_teacher_of_other_images_or_none_is_refused(home, tmp_path, override, message):
    cfg = composed("method=dive", f"method.params.teacher={home / 'teacher'}", override)
    with pytest.raises(Refused, match=message), assembly.refusals():
        assembly.training_job(cfg, tmp_path)


def test_a_teacher_of_another_image_shape_is_refused(home):
    run = trained_run.TrainedRun(composed(), home / "teacher")
    dataset = assembly.dataset(composed())
    trained_run.refuse_other_images(run, dataset, "the teacher")
    dataset.of.image_shape = (1, 32, 32)
    with pytest.raises(Refused, match=r"on images \(1, 28, 28\) .* here they are \(1, 32, 32\)"):
        trained_run.refuse_other_images(run, dataset, "the teacher")


def test_virtual_examples_of_a_run_are_printed_written_and_drawn(home, capsys):
    run, other = home / "teacher", home / "student"
    cfg = composed("mode=virtual_dist", f"run={run}", "mode.temperatures=[1,1000000]",
                   "mode.powers=[1,0.5]", f"mode.compare=[{other}]")  # fmt: skip
    virtual_distribution(trained_run.virtual_distribution_job(cfg, run, []))
    printed = capsys.readouterr().out
    assert "training images" in printed and "tau=1, p=0.5" in printed and "student" in printed
    found = json.loads((run / "virtual_examples.json").read_text())
    split = assembly.dataset(cfg).split("train")
    assert found["train_identity"] == split.identity == load_best(run)["train_identity"]
    assert found["training_images"]["per_class"] == split.class_counts.tolist()
    each = [row["per_class"] for row in (*found["virtual_examples"], *found["compared"])]
    np.testing.assert_allclose(np.sum(each, 1), len(split), rtol=1e-9)
    np.testing.assert_allclose(each[-2], len(split) / 10, rtol=1e-4)
    assert [(r["temperature"], r["power"]) for r in found["virtual_examples"]] == [
        (1, 1), (1, 0.5), (1e6, 1), (1e6, 0.5)
    ]  # fmt: skip
    lines = (run / "virtual_examples.csv").read_text().splitlines()
    assert lines[0].startswith("class,name,group,train_count,tau=1,") and len(lines) == 11
    for name in ("virtual_examples.png", "virtual_examples_runs.png"):
        assert (run / name).read_bytes().startswith(b"\x89PNG")


def test_runs_on_other_images_are_not_compared(home, tmp_path):
    checkpoint.save(tmp_path / "model_0.pt", load_best(home / "teacher") | {"train_identity": "f"})
    cfg = composed("mode=virtual_dist", f"run={home / 'teacher'}", f"mode.compare=[{tmp_path}]")
    with pytest.raises(Refused, match="the run .* was trained on other images"):
        trained_run.virtual_distribution_job(cfg, home / "teacher", [])
