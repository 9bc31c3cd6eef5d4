"""A search by Optuna trains real trials, and goes on after it was killed."""

import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import yaml

from tests.commands.run import MAIN, ROOT, command
from vmf_embeddings.cli import sweep_index, sweep_study
from vmf_embeddings.training import run_status
from vmf_embeddings.untrusted.file_lock import locked
from vmf_embeddings.untrusted.refused import Refused

SHORT = ("-m", "experiment=demo", "sampler.n_episodes=2", "num_workers=0", "method=normalized_sce")
SEARCH = ("hydra/sweeper=search", "hydra.sweeper.n_trials=2")
RATES = "mode.learning_rate=tag(log,interval(0.001,0.1))"


def is_installed(name):
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


INSTALLED = is_installed("hydra_plugins.hydra_optuna_sweeper")
needs_optuna = pytest.mark.skipif(not INSTALLED, reason="hydra-optuna-sweeper is not installed")


def folder_of(home):
    return next(home.rglob("study.db")).parent


def trials(folder):
    import optuna

    study = optuna.load_study(study_name="search", storage=f"sqlite:///{folder}/study.db")
    return [(trial.state.name, trial.value) for trial in study.trials]


def jobs_of(folder):
    return [run_status.read(job.folder) for job in sweep_index.read(folder)]


@needs_optuna
@pytest.mark.slow
@pytest.mark.parametrize("launcher", [(), ("hydra/launcher=parallel", "hydra.launcher.n_jobs=2")])
def test_the_best_validation_metric_is_searched_and_finished_trials_are_kept(tmp_path, launcher):
    if launcher and not is_installed("hydra_plugins.hydra_joblib_launcher"):
        pytest.skip("hydra-joblib-launcher is not installed")
    words = (*SHORT, "mode.epochs=1", *SEARCH, RATES, *launcher)
    done = command(MAIN, *words, cwd=tmp_path, fresh=True)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    folder = folder_of(tmp_path)
    metrics = [status.metric for status in jobs_of(folder)]
    assert trials(folder) == [("COMPLETE", metric) for metric in metrics] and len(metrics) == 2
    result = yaml.safe_load((folder / "optimization_results.yaml").read_text())
    assert result["best_value"] == max(metrics)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.pt")}
    again = command(MAIN, *words, cwd=tmp_path, fresh=True)
    assert again.returncode == 0, again.stderr
    assert "2 of 2 trials are finished already" in again.stderr
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*.pt")}


def killed_inside_a_trial(words, home):
    """Ends a search by SIGKILL once its first training has finished an epoch."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", MAIN, *words], cwd=home, env=environment, stderr=subprocess.DEVNULL
    )
    for _ in range(600):
        if any(home.rglob("last.pt")):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()


@needs_optuna
@pytest.mark.slow
def test_a_killed_search_goes_on_with_the_same_study_and_the_same_training(tmp_path):
    words = (*SHORT, "mode.epochs=60", "mode.patience=60", *SEARCH, RATES)
    killed_inside_a_trial(words, tmp_path)
    folder = folder_of(tmp_path)
    assert trials(folder) == [("RUNNING", None)]
    done = command(MAIN, *words, cwd=tmp_path, fresh=True)
    assert done.returncode == 0, done.stderr
    assert [state for state, _ in trials(folder)] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert "resumed at epoch" in done.stdout
    assert [status.state for status in jobs_of(folder)] == ["done", "done"]


@needs_optuna
@pytest.mark.slow
def test_failed_trials_are_recorded_and_the_search_goes_on(tmp_path):
    classes = "arch.params.n_classes=choice(3,10)"
    words = (*SHORT, "mode.epochs=1", *SEARCH, "hydra.sweeper.n_trials=5", classes)
    done = command(MAIN, *words, cwd=tmp_path, fresh=True)
    states = {state for state, _ in trials(folder_of(tmp_path))}
    assert states == {"FAIL", "COMPLETE"}
    assert done.returncode == 1
    assert re.search(r"\n  \d    arch.params.n_classes=3  .*10 training classes", done.stderr)
    others = ("hydra.sweeper.n_trials=6", "arch.params.n_classes=choice(10,11)")
    other = command(MAIN, *words[:-1], *others, cwd=tmp_path)
    assert other.returncode == 2 and "add name=NAME for another study" in other.stderr


@needs_optuna
@pytest.mark.slow
def test_a_search_without_a_success_says_so(tmp_path):
    words = (*SHORT, "mode.epochs=1", *SEARCH, "arch.params.n_classes=3", RATES)
    done = command(MAIN, *words, cwd=tmp_path)
    assert done.returncode == 1
    assert "no trial succeeded" in done.stderr and "failed jobs: 2" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(INSTALLED, reason="it is installed")
def test_a_sweeper_that_is_not_installed_is_named_with_what_to_type(tmp_path):
    done = command(MAIN, *SHORT, *SEARCH, RATES, cwd=tmp_path)
    assert done.returncode == 2
    assert "pip install" in done.stderr and "optuna" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_command_on_a_study_is_refused(tmp_path):
    pytest.importorskip("optuna")
    search = sweep_study.Search(SimpleNamespace(sweeper=None), tmp_path)
    with (
        locked(tmp_path / sweep_study.LOCK),
        pytest.raises(Refused, match="another command searches here"),
    ):
        search.sweep([])


def test_other_sweepers_stay_as_they_are(tmp_path):
    sweeper = SimpleNamespace()
    assert sweep_study.continued(sweeper, tmp_path) is sweeper
