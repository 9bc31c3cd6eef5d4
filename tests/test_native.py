"""Compiling is logged once, and not where kernels are in the cache; the cache is never outdated."""

import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vmf_embeddings import native

ROOT = Path(__file__).parents[1]
KERNELS = """
from vmf_embeddings.native import compiled

@compiled()
def first(x):
    return x + 1

@compiled()
def second(x):
    return first(x) + 1
"""


@pytest.mark.skipif(not native.enabled(), reason="numba is not installed or switched off")
def test_compiling_is_logged_once_and_not_where_kernels_are_in_the_cache(tmp_path, caplog):
    path = tmp_path / "kernels.py"
    path.write_text(KERNELS)

    def call():
        native._log_once.cache_clear()  # as in a new process
        spec = importlib.util.spec_from_file_location("kernels", path)
        kernels = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(kernels)
        assert kernels.first(1) == 2 and kernels.second(1) == 3
        n_lines = caplog.text.count("compiling kernels")
        caplog.clear()
        return n_lines

    with caplog.at_level(logging.INFO):
        assert call() == 1
        assert call() == 0


@pytest.mark.slow
@pytest.mark.skipif(not native.enabled(), reason="numba is not installed or switched off")
def test_a_kernel_is_compiled_again_when_another_file_of_its_folder_has_changed(tmp_path):
    """One kernel is compiled into another, whose own file is the same as before."""
    text = "from vmf_embeddings.native import compiled\n"
    caller = "from inner import add\n\n@compiled()\ndef outer(x):\n    return add(x)\n"
    (tmp_path / "outer.py").write_text(text + caller)
    for number in (1, 2):
        inner = f"\n@compiled()\ndef add(x):\n    return x + {number}\n"
        (tmp_path / "inner.py").write_text(text + inner)
        call = "import outer; print(outer.outer(1))"
        command = [sys.executable, "-B", "-c", call]
        path = os.pathsep.join([str(tmp_path), str(ROOT)])
        found = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
        )
        assert found.stdout.split() == [str(1 + number)], found.stderr
