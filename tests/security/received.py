"""Received folders with payloads that would write a marker file, and commands that meet them."""

import json
from pathlib import Path

import torch
from omegaconf import OmegaConf

from tests.commands.run import MAIN, command
from vmf_embeddings.cli.help import CONF

OWN_GROUPS = ("arch", "method", "dataset", "head", "loss", "criterion", "miner", "feature_scaling")
OPTIONS = {
    **{"arch": "n_digit_mnist", "method": "vmf_softmax", "dataset": "digits", "head": "linear"},
    **{"loss": "ce", "criterion": "margin", "miner": "none", "feature_scaling": "none"},
}


def touch(marker: Path) -> dict:
    """A node that would write the marker if anybody built it."""
    return {"_target_": "os.system", "_args_": [f"touch {marker}"]}


def create(marker: Path) -> str:
    """A text that becomes such a node when it is resolved."""
    return f"${{oc.create:{{_target_: os.system, _args_: ['touch {marker}']}}}}"


def stored_configuration() -> dict:
    """The configuration of an honest run, as its checkpoint keeps it."""
    nodes = {
        group: OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))
        for group, name in OPTIONS.items()
    }
    nodes["arch"]["params"] |= {"use_vmf": True, "n_classes": 10}
    return nodes | {"random_seed": 1, "name": "run_1"}


def forge_run(folder: Path, config: object) -> Path:
    """A folder with a checkpoint that holds a configuration, or whatever stands in its place."""
    folder.mkdir(parents=True)
    text = config if isinstance(config, str) else json.dumps(config)
    state = {"epoch": 0, "config": text, "method_state_dict": {}, "best_epoch": {"epoch": 0}}
    torch.save(state, folder / "model_0.pt")
    return folder


def forge_run_of_2021(folder: Path, text: str) -> Path:
    """A folder as of 2021: a checkpoint without configuration, and Hydra's file beside it."""
    (folder / ".hydra_train").mkdir(parents=True)
    torch.save({"epoch": 0, "model_state_dict": {}}, folder / "model_0.pt")
    (folder / ".hydra_train/config.yaml").write_text(text)
    return folder


def complaint(
    cwd: Path, *arguments: str, module: str = MAIN, fresh: bool = False, **environment: str
) -> str:
    """What a command says that must end as for a user's mistake, without a trace."""
    done = command(module, *arguments, cwd=cwd, fresh=fresh, **environment)
    assert done.returncode == 2, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stderr
