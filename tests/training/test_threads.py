"""The number of threads is the user's, or else the cores divided among the processes."""

import os
import subprocess
import sys

import pytest

from vmf_embeddings.training import threads


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Eight logical CPUs on four cores, without limits; no variable is set."""
    for cpu in range(8):
        folder = tmp_path / f"cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    monkeypatch.setattr(threads, "TOPOLOGY", tmp_path)
    monkeypatch.setattr(threads, "LIMIT", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name in (*threads.EXPLICIT, "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_process_alone_takes_every_core_once(machine):
    assert threads.thread_count(None) == 4


def test_processors_and_time_that_are_not_granted_do_not_count(machine):
    machine.setattr(os, "sched_getaffinity", lambda _: {0, 1, 4, 5})
    assert threads.thread_count(None) == 2
    machine.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for text, cores in (("350000 100000", 3), ("max 100000", 4), ("50000 100000", 1)):
        threads.LIMIT.write_text(text)
        assert threads.thread_count(None) == cores


def test_processes_of_a_machine_share_its_cores(machine):
    for processes, each in ((2, 2), (3, 1), (16, 1)):
        machine.setenv("LOCAL_WORLD_SIZE", str(processes))
        assert threads.thread_count(None) == each


@pytest.mark.parametrize("name", threads.EXPLICIT)
def test_users_environment_wins_and_the_key_wins_over_it(machine, name):
    machine.setenv(name, "3")
    assert threads.thread_count(None) is None
    assert threads.thread_count(2) == 2


@pytest.mark.parametrize("variables, expected", [({}, "True"), ({"OMP_NUM_THREADS": "1"}, "False")])
def test_torchruns_own_single_thread_is_told_from_the_users(variables, expected):
    """The middle process does what torchrun does: it sets the variable if it started without."""
    child = "from vmf_embeddings.training import threads; print(threads._set_by_torchrun())"
    launcher = (
        "import os, subprocess, sys; os.environ.setdefault('OMP_NUM_THREADS', '1');"
        "os.environ['LOCAL_WORLD_SIZE'] = '2';"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    )
    clean = {k: v for k, v in os.environ.items() if k not in threads.EXPLICIT}
    done = subprocess.run(
        [sys.executable, "-c", launcher], env=clean | variables, capture_output=True, text=True
    )
    assert done.stdout.strip() == expected, done.stderr
