"""Every method on an emulated device: steps replayed from graphs equal the plain ones to the bit.

Two batch sizes, learning rates that change, epochs with numbers of their own. `graphed.py` runs
in a process of its own; see `graphs.py` for what the stand-in for CUDA graphs shows.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from tests.device.recorder import ROOT

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++ to emulate a device"),
    pytest.mark.skipif(torch.backends.cuda.is_built(), reason="needs a CPU build of torch"),
]
REFUSED = {
    "fsgl": "draws random numbers on the CPU",  # the weights of its mixtures
    "nir": "changes what Python keeps",  # the means of its log line
    "pml": "waits",
}


def found() -> dict[str, str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "VMF_EMBEDDINGS_NATIVE": "0"}
    command = [sys.executable, "-m", "tests.device.graphed"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_hundred_steps_of_every_method_equal_plain_ones_or_are_refused():
    results = found()
    assert len(results) > 10
    for name, result in results.items():
        assert REFUSED.get(name, "equal") in result, f"{name}: {result}"
