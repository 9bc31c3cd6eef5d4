"""Packages of options export their public names lazily."""

import importlib
import subprocess
import sys

import pytest

from vmf_embeddings import catalogue

GROUPS = {
    **{"methods": "method", "criteria": "criterion", "heads": "head"},
    **{"losses": "loss", "miners": "miner", "archs": "arch"},
}
EXPORTED = [
    (package, name)
    for package in GROUPS
    for name in importlib.import_module(f"vmf_embeddings.{package}").__all__
]
BUILDERS_OF_NOTHING = {"no_miner"}


@pytest.mark.parametrize(("package", "name"), EXPORTED)
def test_an_exported_name_is_an_object_of_that_name(package, name):
    module = importlib.import_module(f"vmf_embeddings.{package}")
    assert name in dir(module)
    assert getattr(module, name).__name__ == name


@pytest.mark.parametrize("package", GROUPS)
def test_the_class_of_every_yaml_is_exported(package):
    module = importlib.import_module(f"vmf_embeddings.{package}")
    group = GROUPS[package]
    targets = {catalogue.option(group, n)["params"]["_target_"] for n in catalogue.names(group)}
    classes = {target.rpartition(".")[2] for target in targets} - BUILDERS_OF_NOTHING
    assert classes <= set(module.__all__)


@pytest.mark.parametrize("package", GROUPS)
def test_an_unknown_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match="has no attribute 'Unknown'"):
        importlib.import_module(f"vmf_embeddings.{package}").Unknown  # noqa: B018


def test_a_criterion_is_imported_from_its_package():
    from vmf_embeddings.criteria import Margin
    from vmf_embeddings.criteria.margin import Margin as Defined

    assert Margin is Defined


def test_importing_the_packages_does_not_import_torch():
    packages = ", ".join(f"vmf_embeddings.{package}" for package in GROUPS)
    code = f"import sys, {packages}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
