"""Criteria as the command line builds them, for the tests."""

from pathlib import Path

import torch
from omegaconf import OmegaConf

import vmf_embeddings
from vmf_embeddings.cli import assembly
from vmf_embeddings.criteria.base import Criterion

CONF = Path(vmf_embeddings.__file__).parent / "conf" / "criterion"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))
N_CLASSES, DIM, N_FEATURES = 6, 8, 5


def node(name: str, **options: object) -> OmegaConf:
    """A yaml with other options, and the options among its defaults in their places."""
    found = OmegaConf.load(CONF / f"{name}.yaml")
    for default in found.pop("defaults", []):
        if default != "_self_":
            ((key, option),) = default.items()
            found.params[key.rpartition(".")[2]] = node(option)
    found.params.update(options)
    return found


def made(name: str, n_classes: int = N_CLASSES, dim: int = DIM, **options: object) -> Criterion:
    """A criterion with its parameters, in float64; the same ones every time."""
    torch.manual_seed(0)
    criterion = assembly.instantiate("criterion", node(name, **options))
    criterion.build(n_classes, dim, N_FEATURES)
    return criterion.double()
