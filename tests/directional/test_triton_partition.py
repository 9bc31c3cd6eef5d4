"""Triton's log partition and its gradients equal those of PyTorch's code in float64; it compiles.

In Triton's interpreter, which shows neither races nor speed. Triton is no requirement of the tests
(its wheel has 190 MB): `pip install triton==3.6.0` beside a CPU build of torch runs them.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vmf_embeddings import native
from vmf_embeddings.directional import partition
from vmf_embeddings.directional.partition_tile import TorchPartition

ROOT = Path(__file__).parents[2]
has_triton = importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not has_triton, reason="needs triton: pip install triton")


def run(folder, *options, **environment):
    command = [sys.executable, "-m", "tests.directional.triton_cases", *options]
    variables = os.environ | {"OMP_NUM_THREADS": "1", "TRITON_CACHE_DIR": str(folder)}
    done = subprocess.run(
        command, cwd=ROOT, env=variables | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@needs_triton
@pytest.mark.slow
def test_log_partitions_and_gradients_equal_those_in_float64(tmp_path):
    found = run(tmp_path, TRITON_INTERPRET="1")
    assert len(found["cases"]) > 10
    for name, errors in found["cases"].items():
        assert errors.pop("twice", 0.0) == 0.0, name
        assert max(errors.pop("log_sums"), errors.pop("value")) < 2e-6, name
        assert max(errors.values()) < 1e-5, (name, errors)
    assert max(found["part"].values()) < 2e-5  # PyTorch's float32 is off by 1e-5 itself


@needs_triton
@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu_that_is_not_there(tmp_path):
    assert len(run(tmp_path, "--compile")) == 6


def test_triton_is_used_only_on_a_gpu_where_the_variable_asks_for_it(monkeypatch):
    monkeypatch.setenv(native.SWITCH, "0")
    weights, beta = torch.ones(3, 16), torch.ones(())
    for value in ("", "0", "1"):
        monkeypatch.setenv(native.TRITON_SWITCH, value)
        kind = type(partition.partition_of(weights, beta, True, 1.0, None))
        assert kind is TorchPartition  # on the CPU
    monkeypatch.setattr(native.importlib.util, "find_spec", lambda name: object())
    assert native.triton_enabled()
    monkeypatch.setattr(native.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install triton"):
        native.triton_enabled()
    monkeypatch.setenv(native.TRITON_SWITCH, "")
    assert not native.triton_enabled()
