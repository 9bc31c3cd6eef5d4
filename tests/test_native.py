"""Compiling is logged once, and not where kernels are in the cache."""

import importlib.util
import logging

import pytest

from vmf_embeddings import native

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
