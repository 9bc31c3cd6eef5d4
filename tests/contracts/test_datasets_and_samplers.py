"""Every data set and sampler yaml fits the constructor that it names, and explains its knobs."""

import inspect
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import vmf_embeddings
from vmf_embeddings.datasets.base import Dataset
from vmf_embeddings.samplers.base import BatchSampler

CONF = Path(vmf_embeddings.__file__).parent / "conf"
DATASETS = sorted((CONF / "dataset").glob("*.yaml"))
SAMPLERS = sorted((CONF / "sampler").glob("*.yaml"))


def name_of(path):
    return path.stem


def target_and_knobs(node):
    node = dict(node)
    module, _, name = node.pop("_target_").rpartition(".")
    return getattr(import_module(module), name), node


def dataset_node(path):
    """A data set's yaml; where its defaults list names another one, that one's object inside."""
    node = yaml.safe_load(path.read_text())
    for inner in node.pop("defaults", ["_self_"]):
        if inner != "_self_":
            ((place, option),) = inner.items()
            target, knobs = target_and_knobs(dataset_node(path.with_stem(option))["params"])
            node["params"][place.removeprefix("/dataset@params.")] = target(**knobs)
    return node


ADDED_LATER = {"background", "max_pixels", "on_error", "check", "layout", "test_share"}
ADDED_LATER |= {"normalisation", "mean", "std", "interpolation", "crop_fraction"}
ADDED_LATER |= {"decoder", "cache_path"}


def test_all_groups_are_there():
    assert {path.stem for path in DATASETS} >= {
        *("mnist", "fashion_mnist", "cifar10", "cifar100", "cars196", "cub200", "sop"),
        *("digits", "digits_open", "mnist_open", "folder", "csv"),
        *("long_tailed", "cifar10_lt", "cifar100_lt", "mnist_lt", "digits_lt"),
    }
    assert {path.stem for path in SAMPLERS} >= {
        *("episodic", "random", "class_random", "m_per_class", "class_uniform"),
        *("greedy_coreset", "d2_coreset", "fid_batchmatch", "disthist_batchmatch"),
    }


@pytest.mark.parametrize("path", DATASETS, ids=name_of)
def test_dataset_yaml_is_the_signature_of_its_target(path):
    config = dataset_node(path)
    assert set(config) == {"name", "params"}
    assert config["name"] == path.stem
    target, knobs = target_and_knobs(config["params"])
    parameters = inspect.signature(target).parameters
    assert set(knobs) == set(parameters)
    # yaml files of users lack options that came later: those have the default of ours
    defaults = {k: p.default for k, p in parameters.items() if p.default is not p.empty}
    assert all(knobs[key] == default for key, default in defaults.items())
    assert defaults.keys() <= ADDED_LATER
    dataset = target(**knobs)
    assert isinstance(dataset, Dataset)
    if path.stem != "features":  # the length of its vectors is in their file
        assert len(dataset.example_shape) == 3
    assert dataset.margin_warmup_epochs == knobs["margin_warmup_epochs"]
    assert isinstance(dataset.name, str)


@pytest.mark.parametrize("path", SAMPLERS, ids=name_of)
def test_sampler_yaml_is_the_signature_of_its_target(path):
    config = yaml.safe_load(path.read_text())
    assert config.pop("name") == path.stem
    target, knobs = target_and_knobs(config)
    parameters = inspect.signature(target).parameters
    assert set(knobs) | {"labels", "seed"} == set(parameters)
    assert all(p.default is p.empty for p in parameters.values()), "defaults live in the yaml"
    sampler = target(torch.arange(400) // 5, **knobs, seed=0)
    assert isinstance(sampler, BatchSampler)
    sampler.configure(n_epochs=5)
    if sampler.needs_blocks:
        with pytest.raises(ValueError, match="needs blocks"):
            next(iter(sampler))
        sampler.set_blocks(np.arange(400) // 50)
    if sampler.needs_embeddings:
        with pytest.raises(ValueError, match="chooses by embeddings"):
            next(iter(sampler))
        sampler.update_embeddings(torch.randn(400, 8, generator=torch.Generator().manual_seed(0)))
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert all(batch.dtype == torch.int64 and batch.max() < 400 for batch in batches)


@pytest.mark.parametrize("path", [*DATASETS, *SAMPLERS], ids=name_of)
def test_yaml_opens_with_its_purpose_and_explains_every_knob(path):
    first, *lines = path.read_text().splitlines()
    assert first.startswith("# ")
    for line in lines:
        key = line.split(":")[0].strip()
        if key not in ("name", "params", "_target_", "defaults", "- _self_"):
            assert "  # " in line, f"{path.name}: {key} has no comment"
