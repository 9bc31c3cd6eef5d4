"""A training step on CUDA keeps to its device, never waits for it and launches few kernels.

Proved without a GPU: the steps run once, in a process of their own, on tensors that only say that
they are on CUDA (`emulator.py`). `measure.py` says how to see the counts and renew the budgets.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from tests.conftest import made_once
from tests.device.measure import BUDGETS
from tests.device.recorder import ROOT

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++ to emulate a device"),
    pytest.mark.skipif(torch.backends.cuda.is_built(), reason="needs a CPU build of torch"),
]
ROOM = 1.05  # launches over the budget that are allowed
LEARNED = "the host draws the next batch with what this one taught the sampler"
PML = "the losses of pytorch_metric_learning select pairs by their values"
# step -> waits, blocking copies and why they stay
EXCEPTIONS = {"method pml": (3, 0, PML), "sampler meta": (1, 0, LEARNED)}


def run() -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "VMF_EMBEDDINGS_NATIVE": "0"}
    command = [sys.executable, "-m", "tests.device.measure"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="session")
def found(tmp_path_factory):
    """The output of `measure.py`."""
    name = "steps.json"
    folder = made_once(tmp_path_factory, "device", lambda f: (f / name).write_text(run()))
    return json.loads((folder / name).read_text())


@pytest.fixture
def steps(found):
    """Counts by step."""
    return found["steps"]


def test_the_emulator_refuses_what_cuda_refuses_and_sees_waits_and_copies(found):
    assert found["wrong"] == []


def test_miners_criteria_and_search_give_on_a_device_what_they_give_on_the_cpu(found):
    assert found["different"] == []


def test_no_step_mixes_devices(steps):
    assert {name: c["mismatch"] for name, c in steps.items() if c["mismatch"]} == {}


def test_no_step_waits_for_the_device_or_copies_but_its_batch(steps):
    costly = {
        name: (sum(c["waits"].values()), sum(c["copies"].values()), c["waits"] | c["copies"])
        for name, c in steps.items()
        if c["waits"] or c["copies"]
    }
    unexpected = {n: what for n, what in costly.items() if what[:2] != EXCEPTIONS.get(n, ())[:2]}
    assert unexpected == {}
    assert EXCEPTIONS.keys() <= costly.keys(), "exceptions that are none any more: remove them"


def test_a_step_of_the_loop_copies_its_batch_without_blocking(steps):
    copies = {n: c["async_copies"] for n, c in steps.items() if n.startswith("method ")}
    assert set(copies.values()) == {2}  # images and labels


def test_no_step_launches_more_than_its_budget(steps):
    budgets = json.loads(BUDGETS.read_text())
    if budgets["torch"].split("+")[0] != torch.__version__.split("+")[0]:
        pytest.skip(f"budgets are of torch {budgets['torch']}: others count differently")
    assert steps.keys() <= budgets["ops"].keys(), "steps without a budget: renew budgets.json"
    over = {
        name: (counts["ops"], budgets["ops"][name])
        for name, counts in steps.items()
        if counts["ops"] > ROOM * budgets["ops"][name]
    }
    assert over == {}, "launches and budgets: see tests/device/measure.py"
