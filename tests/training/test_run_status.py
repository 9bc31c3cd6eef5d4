"""`status.json` tells what became of a run, and keeps two processes from training in one folder."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from vmf_embeddings.training import run_status
from vmf_embeddings.training.interruption import Interrupted
from vmf_embeddings.training.run_status import RunStatus
from vmf_embeddings.untrusted.refused import Refused

COMMAND = ("method=arcface", "random_seed=1")


def in_words(error):
    return f"{type(error).__name__}: {error}"


def run(folder, error=None, metric=0.5):
    with run_status.recorded(folder, COMMAND, in_words) as recorder:
        during = run_status.read(folder)
        run_status.note_epoch(folder, 3, {"valid_acc": 0.25})
        if error is not None:
            raise error
        recorder.metric = metric
    return during


def test_a_run_is_running_and_then_done_with_its_metric(tmp_path):
    during = run(tmp_path)
    assert (during.state, during.host, during.pid) == ("running", socket.gethostname(), os.getpid())
    after = run_status.read(tmp_path)
    assert (after.state, after.epoch, after.metric, after.error) == ("done", 3, 0.5, "")
    assert after.command == COMMAND and after.started and after.seconds >= 0


@pytest.mark.parametrize(
    ("error", "state", "line"),
    [
        (ValueError("no teacher"), "failed", "ValueError: no teacher"),
        (SystemExit(3), "failed", "SystemExit: 3"),
        (KeyboardInterrupt(), "interrupted", ""),
        (Interrupted(), "interrupted", ""),
    ],
)
def test_how_a_run_ended_is_kept_with_its_latest_epoch(tmp_path, error, state, line):
    with pytest.raises(type(error)):
        run(tmp_path, error)
    after = run_status.read(tmp_path)
    assert (after.state, after.error, after.epoch, after.metric) == (state, line, 3, 0.25)


def test_only_a_queued_run_keeps_the_hash_of_its_configuration(tmp_path):
    run_status.write(tmp_path, RunStatus("queued", COMMAND, "hash"))
    run(tmp_path)
    assert run_status.read(tmp_path).configuration == "hash"
    run(tmp_path)
    assert run_status.read(tmp_path).configuration == ""


@pytest.fixture
def other():
    """Another process of this machine."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path, other):
    running = RunStatus("running", COMMAND, host=socket.gethostname(), pid=other.pid)
    run_status.write(tmp_path, running)
    assert run_status.outcome(tmp_path)[0] == "running"
    with pytest.raises(Refused, match=f"trained by process {other.pid}"):
        run(tmp_path)
    assert run_status.read(tmp_path) == running
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert run_status.outcome(tmp_path)[:2] == (
        "failed",
        f"killed: process {other.pid} on {socket.gethostname()} is gone",
    )
    run(tmp_path)


@pytest.mark.parametrize("pid", [1, os.getpid()], ids=["another", "own"])
def test_a_process_of_another_machine_is_gone_once_its_heartbeat_is_old(tmp_path, pid):
    run_status.write(tmp_path, RunStatus("running", COMMAND, host="elsewhere", pid=pid))
    with pytest.raises(Refused, match="on elsewhere"):
        run(tmp_path)
    long_ago = time.time() - run_status.STALE_SECONDS - 1
    os.utime(tmp_path / run_status.NAME, (long_ago, long_ago))
    run(tmp_path)


def test_the_heartbeat_renews_the_file_while_a_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(run_status, "HEARTBEAT_SECONDS", 0.01)
    with run_status.recorded(tmp_path, COMMAND, in_words):
        os.utime(tmp_path / run_status.NAME, (1, 1))
        deadline = time.monotonic() + 30
        while (tmp_path / run_status.NAME).stat().st_mtime == 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert run_status.is_alive(tmp_path, run_status.read(tmp_path))


@pytest.mark.parametrize("state", ["done", "interrupted"])
def test_a_refused_command_leaves_what_became_of_the_run(tmp_path, state):
    former = RunStatus(state, COMMAND, host="elsewhere", pid=3, epoch=3, metric=0.25)
    run_status.write(tmp_path, former)
    with pytest.raises(Refused):
        run(tmp_path, Refused("another configuration"))
    assert run_status.read(tmp_path) == former
    with pytest.raises(ValueError, match="no teacher"):
        run(tmp_path, ValueError("no teacher"))
    assert run_status.read(tmp_path).state == "failed"
    run_status.write(tmp_path, replace(former, epoch=2))
    with pytest.raises(Refused):
        run(tmp_path, Refused("a damaged image"))  # after epoch 3
    assert run_status.read(tmp_path).error == "Refused: a damaged image"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": "asleep"}'])
def test_a_file_that_is_damaged_meanwhile_ends_no_training(tmp_path, text):
    with run_status.recorded(tmp_path, COMMAND, in_words) as recorder:
        (tmp_path / run_status.NAME).write_text(text)
        run_status.note_epoch(tmp_path, 3, {"valid_acc": 0.25})
        recorder.metric = 0.5
    state, note, _ = run_status.outcome(tmp_path)
    assert state == "failed" and note.endswith("is no status of a run: remove it")
    with pytest.raises(Refused, match="remove it"):
        run(tmp_path)


@pytest.mark.parametrize("text", ["{", '{"state": "asleep"}', '{"state": "done", "pid": "1"}'])
def test_a_malformed_file_is_refused_by_name(tmp_path, text):
    (tmp_path / run_status.NAME).write_text(text)
    with pytest.raises(Refused, match=r"status\.json"):
        run_status.read(tmp_path)


def test_a_folder_without_the_file_has_no_status(tmp_path):
    assert run_status.read(tmp_path) is None
    assert run_status.outcome(tmp_path)[0] == "missing"
    run_status.note_epoch(tmp_path, 0, {"valid_acc": 0.5, "valid_nll": 0.75})
    assert not list(tmp_path.iterdir())
