"""A stored configuration names networks, weights and files: loading it fetches and reads none."""

import json
import sys

import pytest
from omegaconf import OmegaConf

import vmf_embeddings as vmf
from tests.library.test_run import saved_run
from tests.security.received import forge_run, stored_configuration
from vmf_embeddings.cli.help import CONF
from vmf_embeddings.untrusted.refused import Refused

MODEL = ("arch=timm", "arch.params.model=test_resnet", "arch.params.embedding_dim=4")
_opened: list[str] | None = None


def _note(event: str, arguments: tuple) -> None:
    if _opened is not None and event in ("open", "socket.connect", "subprocess.Popen", "os.system"):
        _opened.append(f"{event} {arguments[1 if event == 'socket.connect' else 0]}")


sys.addaudithook(_note)


@pytest.fixture
def opened():
    """Files that are opened, connections and programs while the test runs."""
    global _opened
    _opened = []
    yield _opened
    _opened = None


def stored_network(**params: object) -> dict:
    """A configuration with a network of timm."""
    config = stored_configuration()
    node = OmegaConf.to_container(OmegaConf.load(CONF / "arch/timm.yaml"))
    node["params"] |= {"model": "test_vit", "use_vmf": True, "n_classes": 10, **params}
    return config | {"arch": node}


@pytest.mark.parametrize(
    "weights", ["secret.pth", "secret.safetensors", "timm:test_resnet.r160_in1k"]
)
def test_weights_that_a_run_names_are_neither_read_nor_fetched(tmp_path, weights, opened):
    source = weights if weights.startswith("timm:") else tmp_path / weights
    saved_run(tmp_path / "run", *MODEL, "method=arcface", f"arch.params.weights={source}")
    run = vmf.load(tmp_path / "run")
    run.export(tmp_path / "a.zip")
    assert vmf.load(tmp_path / "a.zip").weights_hash == run.weights_hash
    assert not [one for one in opened if "secret" in one or not one.startswith("open")]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"options": {"depth": 90_000_000}}, "number beyond 65536"),
        ({"options": {"depth": 6e4}}, "cannot be built"),
        ({"options": {"mlp_ratio": 1e300}}, "number beyond"),
        ({"options": {"img_size": [10**6, 10**6]}}, "number"),
        ({"options": {"embed_dim": 60_000, "num_heads": 1}}, "much larger than its weights"),
        ({"options": {"norm_layer": "os.system"}}, "cannot be built"),
        ({"options": {"pretrained_cfg": {"file": "x"}}}, "not an option"),
        ({"options": {"pretrained_cfg_overlay": {"file": "x"}}}, "not an option"),
        ({"options": {"checkpoint_path": "x"}}, "not an option"),
        ({"options": {"block_fn": {"_target_": "os.system"}}}, "may not be built"),
        ({"options": 5}, "cannot be used"),
        ({"model": "hf_hub:somebody/net"}, "no such architecture"),
        ({"model": "local-dir:/"}, "no such architecture"),
        ({"model": "x" * 100_000}, "no such architecture"),
        ({"weights": "timm:somebody.else"}, "no such weights"),
        ({"lora": {"rank": 90_000_000}}, "much larger than its weights"),
        ({"lora": {"rank": 4, "target": "(a+)+$"}}, "no linear layers named"),
        ({"lora": {"rank": 4, "init_lora_weights": "eva"}}, "takes rank"),
        ({"lora": 5}, "cannot be used"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_networks_that_a_run_cannot_have_are_refused(tmp_path, params, said, opened):
    run = forge_run(tmp_path / "run", json.dumps(stored_network(**params)))
    with pytest.raises(Refused, match=said) as caught:
        vmf.load(run)
    assert len(str(caught.value)) < 5000
    assert not [one for one in opened if not one.startswith("open")]
