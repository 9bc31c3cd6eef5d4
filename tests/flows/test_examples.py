"""The examples in the docstrings of the flows run."""

import doctest
import importlib
import pkgutil

from vmf_embeddings import flows


def test_examples_run():
    names = [module.name for module in pkgutil.iter_modules(flows.__path__)]
    results = [
        doctest.testmod(importlib.import_module(f"vmf_embeddings.flows.{name}")) for name in names
    ]
    assert not any(result.failed for result in results)
    assert sum(result.attempted for result in results) >= 10
