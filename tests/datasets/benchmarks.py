"""Builds the retrieval benchmarks with the params of their yaml files."""

from importlib import import_module
from pathlib import Path

import yaml

import vmf_embeddings

CONF = Path(vmf_embeddings.__file__).parent / "conf" / "dataset"


def build(name, path, **overrides):
    params = yaml.safe_load((CONF / f"{name}.yaml").read_text())["params"]
    module, _, kind = params.pop("_target_").rpartition(".")
    return getattr(import_module(module), kind)(**{**params, "dataset_path": path, **overrides})
