"""Public names of the packages of mathematics: exported, and each with a runnable example."""

import importlib
import inspect

import pytest

PACKAGES = ("directional", "distillation", "flows", "hyperbolic")
PUBLIC = [
    (package, name)
    for package in PACKAGES
    for name in importlib.import_module(f"vmf_embeddings.{package}").__all__
]


@pytest.mark.parametrize("package, name", PUBLIC)
def test_a_public_function_or_class_has_an_example(package, name):
    exported = getattr(importlib.import_module(f"vmf_embeddings.{package}"), name)
    if inspect.isfunction(exported) or inspect.isclass(exported):
        assert ">>>" in inspect.getdoc(exported)
    else:
        assert not callable(exported)


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_sorted_and_unique(package):
    names = importlib.import_module(f"vmf_embeddings.{package}").__all__
    order = sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert list(names) == order
    assert len(set(names)) == len(names)
