"""From the command line to the last figure, on real digits, in processes of their own."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from tests.commands.run import MAIN, ROOT, command, refused, succeeds

METRICS = "vmf_embeddings.third_party.pytorch_metric_learning"
SHORT = ["experiment=demo", "mode.epochs=2", "sampler.n_episodes=15"]
COSINE = ["method=normalized_sce", "arch.params.use_vmf=False"]


def last_weights(run_dir):
    return torch.load(run_dir / "last.pt", weights_only=True)["method_state_dict"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with one short vMF run, extracted."""
    folder = tmp_path_factory.mktemp("home")
    succeeds(MAIN, *SHORT, cwd=folder)
    run = "runs/digits/vmf_softmax/3dim/demo"
    succeeds(MAIN, "mode=get_embeddings", f"run={run}", "split=all", cwd=folder)
    return folder


@pytest.fixture
def run_dir(home):
    return home / "runs/digits/vmf_softmax/3dim/demo"


def test_run_folder_holds_what_2021_wrote_and_the_records(run_dir):
    names = {path.name for path in run_dir.iterdir()}
    assert {"main.train.log", "main.get_embeddings.log", ".hydra_train", "last.pt"} <= names
    assert {"metrics.csv", "metrics.jsonl", "tensorboard"} <= names
    assert [n for n in names if re.fullmatch(r"model_\d+\.pt", n)]
    log = (run_dir / "main.train.log").read_text()
    assert re.search(r"Set z-kappa-mult: \d", log)
    folder = "runs/digits/vmf_softmax/3dim/demo"
    assert re.search(rf"Run folder: {folder}\n", log.splitlines(keepends=True)[0])
    assert log.endswith(f"Finished mode=train in {folder}\n")
    assert re.search(r"\[Epoch 1 / 1\] => Train Loss: [\d.]+, Validation Accuracy: [\d.]+", log)


def test_embedding_file_has_the_keys_of_2021_and_meta(run_dir):
    for split, n in (("train", 1221), ("valid", 216), ("test", 360)):
        data = np.load(run_dir / f"digits_{split}.npz", allow_pickle=False)
        assert {"embeddings", "ids", "temp", "weights", "logits", "examples", "meta"} <= set(data)
        assert data["embeddings"].shape == (n, 3)
        assert data["logits"].shape == (n, 10, 10)
        meta = json.loads(str(data["meta"]))
        assert (meta["method"], meta["split"]) == ("vmf_softmax", split)
        assert meta["geometry"]["name"] == "vmf"


@pytest.mark.slow
def test_draws_of_a_split_do_not_depend_on_what_else_is_extracted(home, run_dir):
    with np.load(run_dir / "digits_test.npz") as data:
        among_all = dict(data)
    succeeds(MAIN, "mode=get_embeddings", f"run={run_dir}", "hydra.job.chdir=True", cwd=home)
    with np.load(run_dir / "digits_test.npz") as data:
        assert all(np.array_equal(among_all[key], data[key]) for key in among_all)


def test_metric_script_prints_the_lines_of_2021(home, run_dir):
    printed = succeeds(f"{METRICS}.compute_vmf_performance_metrics", str(run_dir), cwd=home)
    assert re.search(r"Mean softmax: acc = [\d.]+ \+/- 0.0000, ece = [\d.]+ \+/- 0.0000", printed)
    assert "=== softmax ===" in printed


def test_evaluate_writes_metrics_and_figures(home, run_dir):
    succeeds("vmf_embeddings.evaluate", str(run_dir), cwd=home)
    assert json.loads((run_dir / "metrics.json").read_text())
    for figure in ("training_curves", "embedding_map", "reliability", "neighbours"):
        assert list(run_dir.glob(f"*{figure}*.png")), figure


def test_contradicting_the_run_is_refused_and_named(home, run_dir):
    run = f"run={run_dir}"
    complaint = refused(MAIN, "mode=get_embeddings", run, "method=arcface", cwd=home)
    assert "method=arcface" in complaint
    assert "vmf_softmax" in complaint
    other = "arch.params.kappa_confidence=0.7"
    assert "0.4" in refused(MAIN, "mode=get_embeddings", run, other, cwd=home)


def test_repeated_overrides_of_2021_find_the_run(home, run_dir):
    (run_dir / "digits_test.npz").unlink()
    overrides = [
        "arch=n_digit_mnist", "arch.params.embedding_dim=3", "arch.params.n_classes=10",
        "arch.params.use_vmf=True", "arch.params.learn_temp=True", "method=vmf_softmax",
        "dataset=digits", "name=demo", "mode=get_embeddings",
    ]  # fmt: skip
    succeeds(MAIN, *overrides, cwd=home)
    assert (run_dir / "digits_test.npz").exists()


@pytest.mark.slow
def test_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    runs = tmp_path / "runs/digits/vmf_softmax/3dim"
    many = [*SHORT, "mode.epochs=4"]
    succeeds(MAIN, *many, "name=straight", cwd=tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-m", MAIN, *many, "name=killed"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (runs / "killed" / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    printed = succeeds(MAIN, *many, "name=killed", cwd=tmp_path)
    assert re.search(r"resumed at epoch [123] of 4", printed)
    straight, resumed = last_weights(runs / "straight"), last_weights(runs / "killed")
    assert straight.keys() == resumed.keys()
    assert all(torch.equal(straight[key], resumed[key]) for key in straight)
    rows = (runs / "killed" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == [0, 1, 2, 3]
    again = succeeds(MAIN, *many, "name=killed", cwd=tmp_path)
    assert "Finished after 4 epochs" in again
    complaint = refused(MAIN, *many, "name=killed", "mode.learning_rate=0.3", cwd=tmp_path)
    assert "mode.learning_rate was 1.0, now 0.3" in complaint


def test_diverging_run_says_where_and_what_to_try_and_exits_with_1(tmp_path):
    wild = [*SHORT, "method=unnormalized_sce", "arch.params.use_vmf=False"]
    done = command(
        MAIN, *wild, "mode.learning_rate=1e30", "mode.temp_learning_rate=0.0", cwd=tmp_path
    )
    assert done.returncode == 1
    assert re.search(r"the loss became (nan|inf) at epoch 0, step \d+", done.stderr)
    assert "smaller mode.learning_rate" in done.stderr


@pytest.mark.slow
def test_hyperbolic_retrieval_finds_its_curvature(tmp_path):
    hyperbolic = [
        "method=hyperbolic_sce",
        "arch.params.use_vmf=False",
        "dataset=digits_open",
        "mode.learning_rate=0.05",
    ]
    succeeds(MAIN, *SHORT, *hyperbolic, "method.params.c=0.01", cwd=tmp_path)
    run = "runs/digits_open/hyperbolic_sce/3dim/demo"
    succeeds(MAIN, "mode=get_embeddings", f"run={run}", cwd=tmp_path)
    script = f"{METRICS}.compute_deterministic_performance_metrics"
    printed = succeeds(script, run, "hyperbolic", cwd=tmp_path)
    assert "Found c = 0.01" in printed
    assert re.search(r"Mean Recall@1: acc = [\d.]+ \+/- ", printed)
    assert re.search(r"Mean mAP@R: val = [\d.]+ \+/- ", printed)


def test_sweep_runs_each_job_in_its_own_folder_and_a_failed_job_spoils_the_exit_code(tmp_path):
    sweep = ["-m", *SHORT, *COSINE, "mode.epochs=1", "arch.params.kappa_confidence=0.4,0.6"]
    succeeds(MAIN, *sweep, cwd=tmp_path)
    jobs = list((tmp_path / "runs/sweeps").rglob("last.pt"))
    assert len(jobs) == 2
    folder = str(jobs[0].parents[1])
    by_overrides = succeeds(MAIN, *sweep, "mode=get_embeddings", cwd=tmp_path)
    by_folder = succeeds(MAIN, "mode=get_embeddings", f"run={folder}", cwd=tmp_path)
    for job in jobs:
        file = str(job.with_name("digits_test.npz"))
        assert file in by_overrides
        assert file in by_folder
    said = succeeds("vmf_embeddings.evaluate", folder, cwd=tmp_path)
    assert "2 files in 2 groups, which differ in arch.params.kappa_confidence" in said
    failed = command(MAIN, *sweep[:-1], "arch.params.n_classes=10,3,4", cwd=tmp_path)
    assert failed.returncode == 1
    head, _, *jobs = failed.stderr.splitlines()[-4:]
    assert head == "failed jobs: 2; the others are finished and kept"
    for number, classes, job in zip((1, 2), (3, 4), jobs, strict=True):
        words = rf"  {number}    arch.params.n_classes={classes}  .*10 training classes"
        assert re.match(words, job)
    assert len(list((tmp_path / "runs/sweeps").rglob("last.pt"))) == 3


def test_two_processes_train_as_one(tmp_path):
    cosine = [*SHORT, *COSINE, "mode.learning_rate=0.1", "mode.momentum=0.9"]
    succeeds(MAIN, *cosine, "name=one", cwd=tmp_path)
    succeeds(
        "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", MAIN,
        *cosine, "name=two", cwd=tmp_path,
    )  # fmt: skip
    runs = tmp_path / "runs/digits/normalized_sce/3dim"
    rows = [
        json.loads((runs / n / "metrics.jsonl").read_text().splitlines()[0]) for n in ("one", "two")
    ]
    # the same batches and statistics, added up in another order
    assert rows[0]["train_loss"] == pytest.approx(rows[1]["train_loss"], rel=2e-3)
    one, two = last_weights(runs / "one"), last_weights(runs / "two")
    assert one.keys() == two.keys()
    shutil.rmtree(runs)
