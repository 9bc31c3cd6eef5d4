"""The packages export their public names without importing torch."""

import importlib
import subprocess
import sys

import pytest
import yaml

from tests.datasets.benchmarks import CONF

PACKAGES = (
    "vmf_embeddings.datasets",
    "vmf_embeddings.samplers",
    "vmf_embeddings.virtual_distribution",
)
PAIRS = [
    (package, name) for package in PACKAGES for name in importlib.import_module(package).__all__
]


def targets():
    for path in sorted([*CONF.glob("*.yaml"), *CONF.with_name("sampler").glob("*.yaml")]):
        config = yaml.safe_load(path.read_text())
        yield config.get("_target_") or config["params"]["_target_"]


@pytest.mark.parametrize(("package", "name"), PAIRS)
def test_every_exported_name_is_an_object_of_that_name(package, name):
    assert getattr(importlib.import_module(package), name).__name__ == name


@pytest.mark.parametrize("target", sorted(set(targets())))
def test_every_class_with_a_yaml_is_exported(target):
    package, name = ".".join(target.split(".")[:2]), target.rpartition(".")[2]
    assert name in importlib.import_module(package).__all__


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match="has no attribute 'Unknown'"):
        importlib.import_module(package).Unknown  # noqa: B018


def test_importing_the_packages_does_not_import_torch():
    code = f"import sys, {', '.join(PACKAGES)}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
