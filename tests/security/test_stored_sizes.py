"""A small checkpoint cannot ask for a large network, nor for the network."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from tests.security.received import forge_run, stored_configuration
from tests.test_configs import composed
from vmf_embeddings.cli.run_config import configuration_of_run
from vmf_embeddings.cli.stored_sizes import building_from, refuse_sizes_beyond_weights
from vmf_embeddings.trained import load
from vmf_embeddings.untrusted.refused import Refused

WEIGHTS = {"method_state_dict": {"a": torch.zeros(10, 10)}}


@pytest.mark.parametrize(
    "nodes",
    [
        {"arch": {"params": {"embedding_dim": 10**9}}},
        {"arch": {"params": {"n_classes": 10**12}}},
        {"arch": {"params": {"n_classes": 10**400}}},
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
    large = {"method_state_dict": {"w": torch.zeros(200_000_000, device="meta")}}
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


def test_tensors_that_share_memory_do_not_make_room_for_a_large_network():
    shared = torch.zeros(1000)
    weights = {"method_state_dict": {str(i): shared.view(10, 100) for i in range(10**5)}}
    with pytest.raises(Refused, match="holds 1000"):
        refuse_sizes_beyond_weights({"arch": {"params": {"width": 10**8 + 1}}}, weights, "run")


HUGE = {
    "two widths": lambda: torch.nn.Linear(10**8, 10**8),
    "many layers": lambda: [torch.nn.Linear(2, 2) for _ in range(10**7)],
    "a square": lambda: torch.eye(10**6),
    "a kind of tensor": lambda: torch.zeros(2).new_zeros(10**12),
    "random numbers": lambda: torch.randn(10**7, 10**7, generator=torch.Generator()),
}


@pytest.mark.parametrize("what", HUGE)
def test_networks_beyond_their_weights_are_refused_before_memory_is_taken(what):
    with pytest.raises(Refused, match="much larger than its weights"), building_from(WEIGHTS, "r"):
        HUGE[what]()


def test_networks_of_their_weights_are_built_with_the_same_random_numbers():
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 4)
    torch.manual_seed(0)
    with building_from({"method_state_dict": layer.state_dict()}, "run"):
        assert torch.equal(torch.nn.Linear(3, 4).weight, layer.weight)


@pytest.mark.parametrize(
    ("key", "value", "weights"),
    [
        ("embedding_dim", 99_999_999, {}),
        ("embedding_dim", 10**400, {}),
        ("n_classes", None, {"class_parameters.weight": torch.zeros(2**40, 0)}),
    ],
)
def test_load_refuses_a_run_that_asks_for_terabytes(tmp_path, key, value, weights):
    config = stored_configuration()
    config["arch"]["params"][key] = value
    run = forge_run(tmp_path / "run", config)
    state = torch.load(run / "model_0.pt")
    torch.save(state | {"method_state_dict": weights}, run / "model_0.pt")
    with pytest.raises(Refused, match=r"its weights|asks for a network"):
        load(run)
