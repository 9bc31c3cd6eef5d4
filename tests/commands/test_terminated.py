"""A training that gets SIGTERM is saved; the same command goes on with it."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.commands.run import MAIN, ROOT, succeeds
from vmf_embeddings.training import run_status

RUN = ["experiment=demo", "mode.epochs=3", "sampler.n_episodes=15", "num_workers=0"]


def weights(folder):
    return torch.load(folder / "last.pt", weights_only=True)["method_state_dict"]


def terminated(folder, words, n_processes):
    """Exit code of a training whose group of processes gets SIGTERM after its first epoch."""
    start = ["-m", MAIN]
    if n_processes > 1:
        start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
                 str(n_processes), *start]  # fmt: skip
    child = subprocess.Popen(
        [sys.executable, *start, *words, "name=other"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    status = None
    while (status is None or status.epoch is None) and time.monotonic() < deadline:
        time.sleep(0.02)
        found = list(folder.rglob("other/status.json"))
        status = run_status.read(found[0].parent) if found else None
    os.killpg(child.pid, signal.SIGTERM)
    child.wait(timeout=120)
    return child.returncode, run_status.read(found[0].parent)


@pytest.mark.slow
@pytest.mark.parametrize("n_processes", [1, 2])
def test_a_terminated_command_goes_on_where_it_was(tmp_path, n_processes):
    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", MAIN)
    command = (MAIN,) if n_processes == 1 else torchrun
    succeeds(*command, *RUN, "name=straight", cwd=tmp_path)
    code, status = terminated(tmp_path, RUN, n_processes)
    assert (code, status.state) == (143 if n_processes == 1 else code, "interrupted")
    assert code != 0
    (folder,) = (path.parent for path in tmp_path.rglob("other/status.json"))
    said = succeeds(*command, *RUN, "name=other", cwd=tmp_path)
    assert "resumed at epoch" in said
    straight, other = weights(folder.with_name("straight")), weights(folder)
    assert all(torch.equal(straight[key], other[key]) for key in straight)
    assert run_status.read(folder).state == "done"
