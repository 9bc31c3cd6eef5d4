"""A sweep knows its jobs: finished ones are not run again, failed ones are named at its end."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.commands.run import MAIN, ROOT, command, succeeds
from vmf_embeddings.cli import sweep_index, sweep_table
from vmf_embeddings.cli.sweep_index import Job
from vmf_embeddings.training import run_status
from vmf_embeddings.training.run_status import RunStatus

SHORT = ["experiment=demo", "mode.epochs=1", "sampler.n_episodes=2", "num_workers=0"]
SWEEP = ["-m", *SHORT, "method=normalized_sce,dive", "random_seed=1,2"]
SEEDS = ["-m", *SHORT, "method=normalized_sce", "random_seed=1,2"]
IMPORTS = (
    "import sys; sys.argv[1:] = {}; from vmf_embeddings.cli import app; app.main(); "
    "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a sweep of four jobs, of which two failed: dive lacks its teacher.

    The sweep of the two others is in a folder of its own, which their method names.
    """
    folder = tmp_path_factory.mktemp("home")
    done = command(MAIN, *SWEEP, cwd=folder)
    assert done.returncode == 1, done.stderr
    (folder / "stderr").write_text(done.stderr)
    succeeds(MAIN, *SEEDS, cwd=folder)
    return folder


def sweep_folder(home, method="vmf_softmax"):
    """The folder of the sweep; that of several methods is the default method's."""
    return home / f"runs/sweeps/digits/{method}/3dim/demo"


def test_failed_jobs_do_not_keep_others_from_training_and_end_in_a_table(home):
    lines = (home / "stderr").read_text().splitlines()[-4:]
    assert lines[0] == "failed jobs: 2; the others are finished and kept"
    assert re.match(r"  2    method=dive random_seed=1  .*teacher", lines[2])
    assert re.match(r"  3    method=dive random_seed=2  .*teacher", lines[3])
    assert len(list(home.rglob("last.pt"))) == 2


def test_the_index_lies_beside_multirun_yaml_and_leads_to_every_job(home):
    folder = sweep_folder(home)
    assert (folder / "multirun.yaml").exists()
    jobs = sweep_index.read(folder)
    assert [job.overrides[-2:] for job in jobs] == [
        (f"method={method}", f"random_seed={seed}")
        for method in ("normalized_sce", "dive")
        for seed in (1, 2)
    ]
    states = [run_status.read(job.folder).state for job in jobs]
    assert states == ["done", "done", "failed", "failed"]


def test_summarize_lists_the_jobs_and_exits_with_1_if_one_failed(home):
    folder = str(sweep_folder(home).relative_to(home))
    said = command("vmf_embeddings.summarize", "--sweep", folder, cwd=home)
    assert said.returncode == 1
    head, _, *jobs = said.stdout.splitlines()
    assert head == f"{folder}: 4 jobs: 2 failed, 2 done"
    assert re.match(
        r"  done    0      0\.\d{4}  \d+ +method=normalized_sce random_seed=1$", jobs[0]
    )
    assert re.match(r"  failed +\d+ +method=dive random_seed=2 .*teacher", jobs[3])


def test_finished_jobs_are_recognised_before_torch_is_imported(home):
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*.pt")}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS.format(SEEDS)],
        cwd=home, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == "2 of 2 jobs are finished already\n"
    assert before == {path: path.stat().st_mtime_ns for path in home.rglob("*.pt")}


def test_the_same_command_runs_the_unfinished_jobs_alone(home, tmp_path):
    shutil.copytree(home / "runs", tmp_path / "runs")
    first = sweep_index.read(sweep_folder(tmp_path, "normalized_sce"))[0]
    (first.folder / "last.pt").unlink()
    next(first.folder.glob("model_*.pt")).unlink()
    (first.folder / run_status.NAME).write_text("")  # the machine stopped while it was written
    done = command(MAIN, *SEEDS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 of 2 jobs are finished already" in done.stderr
    assert (first.folder / "last.pt").exists()


def test_resume_never_runs_finished_jobs_again(tmp_path):
    arguments = ["-m", *SHORT, "method=normalized_sce", "resume=never"]
    for _ in range(2):
        done = command(MAIN, *arguments, cwd=tmp_path)
        assert done.returncode == 0 and "finished already" not in done.stderr
    log = next(tmp_path.rglob("main.train.log")).read_text()
    assert log.count("Finished mode=train") == 2


def test_a_job_that_another_process_trains_is_refused_and_its_status_kept(home, tmp_path):
    shutil.copytree(home / "runs", tmp_path / "runs")
    job = sweep_index.read(sweep_folder(tmp_path))[0]
    other = RunStatus("running", job.overrides, host="elsewhere", pid=7)
    run_status.write(job.folder, other)
    done = command(MAIN, *SEEDS, cwd=tmp_path)
    assert done.returncode == 1
    assert "is being trained by process 7 on elsewhere" in done.stderr
    assert run_status.read(job.folder) == other


def test_extraction_from_a_sweep_leaves_status_and_index_alone(home, tmp_path):
    shutil.copytree(home / "runs", tmp_path / "runs")
    folder = sweep_folder(tmp_path)
    before = (folder / sweep_index.NAME).read_text()
    succeeds(MAIN, *SEEDS, "mode=get_embeddings", cwd=tmp_path)
    assert (folder / sweep_index.NAME).read_text() == before
    assert all(run_status.read(j.folder).state == "done" for j in sweep_index.read(folder)[:2])


DAMAGED = ['{"overrides": ["a=2"], "fol', "[1]", '{"overrides": "a=2", "folder": "two"}', ""]


@pytest.mark.parametrize("line", DAMAGED)
def test_a_damaged_line_of_the_index_is_named(tmp_path, line):
    sweep_index.add(tmp_path, [Job(("a=1",), tmp_path / "one")])
    with (tmp_path / sweep_index.NAME).open("a") as index:
        index.write(line + "\n")
    with pytest.raises(ValueError, match="line 2 of .* is no job of a sweep .*remove this line"):
        sweep_index.read(tmp_path)


def test_a_job_in_the_same_folder_takes_the_place_of_the_former(tmp_path):
    sweep_index.add(tmp_path, [Job(("a=1",), tmp_path / "one"), Job(("a=2",), tmp_path / "two")])
    sweep_index.add(tmp_path, [Job(("a=1", "b=1"), tmp_path / "x" / ".." / "one")])
    assert [job.overrides for job in sweep_index.read(tmp_path)] == [("a=1", "b=1"), ("a=2",)]


def test_commands_that_add_to_one_index_at_a_time_lose_no_job(tmp_path):
    adds = (
        "import sys; from pathlib import Path; from vmf_embeddings.cli.sweep_index import Job, add;"
        "folder, name = Path(sys.argv[1]), sys.argv[2];"
        "[add(folder, [Job((f'{name}={i}',), folder / f'{name}{i}')]) for i in range(40)]"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", adds, tmp_path, name], cwd=ROOT) for name in "abc"
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    found = {job.overrides for job in sweep_index.read(tmp_path)}
    assert found == {(f"{name}={i}",) for name in "abc" for i in range(40)}


def test_every_state_is_counted_and_only_failures_make_the_code_1(tmp_path, capsys):
    states = {"done": 0, "queued": 0, "interrupted": 0, "missing": 0}
    jobs = [Job(("x=1", f"state={s}"), tmp_path / s) for s in states]
    for job in jobs[:3]:
        job.folder.mkdir()
        run_status.write(job.folder, RunStatus(job.folder.name, job.overrides))
    sweep_index.add(tmp_path, jobs)
    assert sweep_table.print_sweep(tmp_path) == 0
    assert "4 jobs: 1 interrupted, 1 done, 1 queued, 1 missing" in capsys.readouterr().out
    dead = RunStatus("running", jobs[0].overrides, host="elsewhere", pid=1)
    run_status.write(jobs[0].folder, dead)
    os.utime(jobs[0].folder / run_status.NAME, (1, 1))
    assert sweep_table.print_sweep(tmp_path) == 1
    assert "killed: process 1 on elsewhere is gone" in capsys.readouterr().out
    (jobs[0].folder / run_status.NAME).write_text("")
    assert sweep_table.print_sweep(tmp_path) == 1
    assert "is no status of a run: remove it" in capsys.readouterr().out


@pytest.mark.parametrize("line", ["[]", '{"overrides": "a=1", "folder": "x"}', '{"overrides": []}'])
def test_a_malformed_index_is_refused(tmp_path, line, capsys):
    (tmp_path / sweep_index.NAME).write_text(line + "\n")
    assert sweep_table.print_sweep(tmp_path) == 2
    assert sweep_index.NAME in capsys.readouterr().err


def test_a_folder_without_a_sweep_is_refused(tmp_path, capsys):
    assert sweep_table.print_sweep(tmp_path) == 2
    assert "multirun.yaml" in capsys.readouterr().err


def test_rows_of_the_index_are_relative_so_that_a_sweep_may_be_moved(tmp_path):
    sweep_index.add(tmp_path / "a", [Job(("x=1",), tmp_path / "b" / "job")])
    row = json.loads((tmp_path / "a" / sweep_index.NAME).read_text())
    assert row["folder"] == "../b/job"
