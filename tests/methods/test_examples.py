"""The examples in the docstrings of the methods' pure functions run."""

import doctest
import importlib
import pkgutil

import pytest

import vmf_embeddings.methods as methods

NAMES = [module.name for module in pkgutil.iter_modules(methods.__path__)]


@pytest.mark.parametrize("name", NAMES)
def test_examples_run(name):
    module = importlib.import_module(f"vmf_embeddings.methods.{name}")
    assert doctest.testmod(module).failed == 0


def test_there_are_examples():
    modules = [importlib.import_module(f"vmf_embeddings.methods.{name}") for name in NAMES]
    assert sum(doctest.testmod(module).attempted for module in modules) >= 10
