"""Two processes under torchrun write the numbers of one, and one of them speaks."""

import subprocess
import sys

from tests.commands.run import succeeds
from tests.evaluation.runs import make_run, scores_of

EVALUATE = "vmf_embeddings.evaluate"


def test_two_processes_score_as_one(tmp_path):
    alone, shared = (
        make_run(tmp_path / name, {"name": "vmf"}, dim=40, open_set=True) for name in "ab"
    )
    succeeds(EVALUATE, str(alone), "--no-pictures", cwd=tmp_path)
    two = ["--standalone", "--nproc-per-node", "2", "-m", EVALUATE, str(shared), "--no-pictures"]
    said = succeeds("torch.distributed.run", *two, cwd=tmp_path)
    assert scores_of(shared) == scores_of(alone)
    assert said.count("=== retrieval ===") == 1


def test_a_reader_that_leaves_is_no_error(tmp_path):
    make_run(tmp_path, {"name": "cosine"})
    command = f"{sys.executable} -m {EVALUATE} {tmp_path} --no-pictures | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=120
    )
    assert "BrokenPipe" not in done.stderr
    assert done.returncode == 0
