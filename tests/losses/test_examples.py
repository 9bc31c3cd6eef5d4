"""The examples in the docstrings of heads and losses run."""

import doctest
import importlib
import pkgutil

import pytest

from vmf_embeddings import heads, losses

NAMES = [
    f"{room.__name__}.{module.name}"
    for room in (heads, losses)
    for module in pkgutil.iter_modules(room.__path__)
]


@pytest.mark.parametrize("name", NAMES)
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples():
    attempted = [doctest.testmod(importlib.import_module(name)).attempted for name in NAMES]
    assert sum(attempted) >= 30
