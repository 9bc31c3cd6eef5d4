"""A small checkpoint cannot ask for a large network, nor for the network."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from tests.test_configs import composed
from vmf_embeddings.cli.run_config import configuration_of_run
from vmf_embeddings.cli.stored_sizes import refuse_sizes_beyond_weights
from vmf_embeddings.untrusted.refused import Refused

WEIGHTS = {"method_state_dict": {"a": torch.zeros(10, 10)}}


@pytest.mark.parametrize(
    "nodes",
    [
        {"arch": {"params": {"embedding_dim": 10**9}}},
        {"arch": {"params": {"n_classes": 10**12}}},
        {"method": {"params": {"flow": {"width": 10**10}}}},
        {"criterion": {"params": {"target_dims": [20_000] * 3}}},
        {"criterion": {"params": {"target_dims": [3_000] * 100}}},
    ],
)
def test_widths_beyond_the_weights_are_refused_by_name(nodes):
    with pytest.raises(Refused, match="holds 100"):
        refuse_sizes_beyond_weights(nodes, WEIGHTS, "run")


def test_widths_of_honest_runs_pass():
    nodes = {"arch": {"params": {"embedding_dim": 2048, "bias": True}}}
    refuse_sizes_beyond_weights(nodes | {"criterion": {"d": [1024, 1536, 2048]}}, WEIGHTS, "run")
    large = {"method_state_dict": {"w": torch.zeros(1, device="meta").expand(200_000_000, 1)}}
    refuse_sizes_beyond_weights({"arch": {"params": {"n_classes": 150_000_000}}}, large, "run")


def test_a_stored_wish_to_download_is_not_followed():
    today = composed(["dataset=mnist"])
    stored = composed(["dataset=mnist", "dataset.params.download=true"])

    config = OmegaConf.to_container(stored, resolve=True)
    own = configuration_of_run(today, Path("run"), {"config": json.dumps(config)}, [])
    assert own.dataset.params.download is False
    typed = ["dataset.params.download=true"]
    own = configuration_of_run(stored, Path("run"), {"config": json.dumps(config)}, typed)
    assert own.dataset.params.download is True
