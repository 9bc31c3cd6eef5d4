"""The presets of launchers train real jobs, each where its package is installed."""

import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.commands.run import MAIN, command
from vmf_embeddings.cli import job_place, sweep_index
from vmf_embeddings.training import run_status

SWEEP = [
    *("-m", "experiment=demo", "mode.epochs=1", "sampler.n_episodes=2", "num_workers=0"),
    *("method=normalized_sce", "random_seed=1,2"),
]
PACKAGES = {
    "parallel": "hydra_plugins.hydra_joblib_launcher",
    "slurm_here": "hydra_plugins.hydra_submitit_launcher",
    "ray_here": "hydra_plugins.hydra_ray_launcher",
}


def is_installed(name):
    try:
        return find_spec(PACKAGES[name]) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKAGES)
def test_a_launcher_trains_two_jobs_and_skips_them_the_second_time(tmp_path, name):
    if not is_installed(name):
        pytest.skip(f"{PACKAGES[name]} is not installed")
    done = command(MAIN, *SWEEP, f"hydra/launcher={name}", cwd=tmp_path, fresh=True)
    assert done.returncode == 0, done.stderr
    jobs = sweep_index.read(next(tmp_path.rglob(sweep_index.NAME)).parent)
    statuses = [run_status.read(job.folder) for job in jobs]
    assert [status.state for status in statuses] == ["done", "done"]
    assert os.getpid() not in {status.pid for status in statuses}
    again = command(MAIN, *SWEEP, f"hydra/launcher={name}", cwd=tmp_path, fresh=True)
    assert again.returncode == 0 and "2 of 2 jobs are finished already" in again.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["parallel", "slurm_here"])
def test_a_failed_job_leaves_the_others_in_other_processes_too(tmp_path, name):
    if not is_installed(name):
        pytest.skip(f"{PACKAGES[name]} is not installed")
    sweep = [*SWEEP[:-1], "arch.params.n_classes=3,10"]
    done = command(MAIN, *sweep, f"hydra/launcher={name}", cwd=tmp_path, fresh=True)
    assert done.returncode == 1
    assert "failed jobs: 1; the others are finished and kept" in done.stderr
    assert re.search(r"\n  0    arch.params.n_classes=3  .*10 training classes", done.stderr)
    assert len(list(tmp_path.rglob("last.pt"))) == 1


@pytest.mark.slow
def test_the_tasks_of_a_job_train_together(tmp_path):
    if not is_installed("slurm_here"):
        pytest.skip("hydra-submitit-launcher is not installed")
    two = ["hydra/launcher=slurm_here", "hydra.launcher.tasks_per_node=2", "trainer.cpu=true"]
    done = command(MAIN, *SWEEP[:-1], "random_seed=1", *two, cwd=tmp_path, fresh=True)
    assert done.returncode == 0, done.stderr
    log = next(tmp_path.rglob("main.train.log")).read_text()
    assert re.search(r"Process \d of 2", log)


@pytest.mark.parametrize("name", [*PACKAGES, "slurm"])
def test_a_launcher_that_is_not_installed_is_named_with_what_to_type(tmp_path, name):
    if is_installed("slurm_here" if name == "slurm" else name):
        pytest.skip("it is installed")
    done = command(MAIN, *SWEEP, f"hydra/launcher={name}", cwd=tmp_path)
    assert done.returncode == 2
    assert "pip install" in done.stderr and "Traceback" not in done.stderr


def test_gpus_are_dealt_in_turn_unless_they_were_chosen(tmp_path, monkeypatch):
    for name in ("nvidia0", "nvidia1", "nvidia3", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.setattr(job_place, "DEVICES", tmp_path)
    dealt = []
    for number in range(4):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        job_place.deal_gpu(number)
        dealt.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert dealt == ["0", "1", "3", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    job_place.deal_gpu(0)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(job_place, "DEVICES", Path(tmp_path / "nowhere"))
    job_place.deal_gpu(0)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_jobs_of_a_sweep_are_one_group_of_trackers_unless_one_was_named(monkeypatch):
    monkeypatch.setenv("WANDB_RUN_GROUP", "mine")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    job_place.group_in_trackers("digits/demo")
    assert os.environ["WANDB_RUN_GROUP"] == "mine"
    assert os.environ.pop("MLFLOW_EXPERIMENT_NAME") == "digits/demo"


@pytest.mark.parametrize("n_tasks", [1, 3])
def test_tasks_of_submitit_become_ranks(monkeypatch, n_tasks):
    task = SimpleNamespace(
        num_tasks=n_tasks, global_rank=2, local_rank=1, hostnames=["a", "b"], job_id="17_4"
    )
    monkeypatch.setitem(sys.modules, "submitit", SimpleNamespace(JobEnvironment=lambda: task))
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    for name in names:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    job_place.join_tasks()
    found = [os.environ.pop(name, None) for name in names]
    if n_tasks == 1:
        assert found == [None] * 5
    else:
        assert found[:4] == ["2", "1", "3", "a"] and 1024 < int(found[4]) < 65536
