"""Two processes under torchrun write the numbers of one, and one of them speaks."""

import os
import subprocess
import sys

from tests.evaluation.runs import make_run, scores_of

EVALUATE = ["-m", "vmf_embeddings.evaluate"]


def run(words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True, text=True, timeout=180, env=environment,
    )  # fmt: skip


def test_two_processes_score_as_one(tmp_path):
    alone, shared = (
        make_run(tmp_path / name, {"name": "vmf"}, dim=40, open_set=True) for name in "ab"
    )
    assert run([*EVALUATE, alone, "--no-pictures"]).returncode == 0
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = run([*torchrun, *EVALUATE, shared, "--no-pictures"])
    assert done.returncode == 0, done.stderr
    assert scores_of(shared) == scores_of(alone)
    assert done.stdout.count("=== retrieval ===") == 1


def test_a_reader_that_leaves_is_no_error(tmp_path):
    make_run(tmp_path, {"name": "cosine"})
    command = f"{sys.executable} {' '.join(EVALUATE)} {tmp_path} --no-pictures | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=120
    )
    assert "BrokenPipe" not in done.stderr
    assert done.returncode == 0
