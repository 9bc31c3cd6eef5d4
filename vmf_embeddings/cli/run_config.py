"""The configuration a run was trained with; a later command may not contradict it."""

import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vmf_embeddings.cli.assembly import Refused, option_file
from vmf_embeddings.cli.stored_sizes import refuse_sizes_beyond_weights
from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.plain import refuse_interpolations
from vmf_embeddings.untrusted.yaml_text import read_yaml

# keys of the command that say where and how to extract, not what was trained
ABOUT_EXTRACTION = ("mode", "run", "name", "split", "search", "resume", "num_workers", "trainer")
ABOUT_TRAINING = (
    "sampler",
    "optimizer",
    "schedule",
    "logger",
    "random_seed",
    "experiment",
    "hydra",
)
MAY_MOVE = ("dataset.params.dataset_path", "dataset.params.download", "arch.params.weights")
OF_OLDER_RUNS = {  # from before these groups
    "head": "linear",
    "loss": "ce",
    "criterion": "proxy_anchor",
    "miner": "none",
    "feature_scaling": "none",
}
SELECTS = ("arch", "method", "dataset", *OF_OLDER_RUNS)


def configuration_of_run(
    cfg: DictConfig, run_dir: Path, checkpoint: dict[str, Any], overrides: list[str]
) -> DictConfig:
    """The run's own arch, method and data set; what the command repeats of them must agree.

    Runs of 2021 keep no configuration in their checkpoint: there the folder's
    `.hydra_train/config.yaml` counts, or where that is missing the command's own overrides.

    Args:
        cfg: today's composed configuration.
        run_dir: the run's folder.
        checkpoint: its best state.
        overrides: today's overrides, as typed.

    Returns:
        Configuration to build from.

    Raises:
        Refused: if an override contradicts the run, naming both values.
    """
    stored = _stored(cfg, run_dir, checkpoint)
    if stored is None:
        return cfg
    refuse_sizes_beyond_weights(stored, checkpoint, str(run_dir))
    if "download" in (stored["dataset"].get("params") or {}):
        stored["dataset"]["params"]["download"] = False  # only a command may ask for the network
    own = OmegaConf.merge(cfg, {key: None for key in SELECTS}, stored)
    for override in overrides:
        _refuse_contradiction(override, cfg, own, run_dir)
    for key in MAY_MOVE:
        if any(override.split("=")[0] == key for override in overrides):
            OmegaConf.update(own, key, OmegaConf.select(cfg, key))
    return own


def _stored(cfg: DictConfig, run_dir: Path, checkpoint: dict[str, Any]) -> dict[str, Any] | None:
    """What decides what the run computes; None where only the command can say it.

    Raises:
        Refused: it is not the plain values of a run's configuration.
    """
    if "config" in checkpoint:
        return _of_checkpoint(checkpoint["config"], f"the configuration in {run_dir}'s checkpoint")
    path = run_dir / ".hydra_train" / "config.yaml"
    if not os.path.lexists(path):
        return None
    return _translated(read_yaml(path), str(path))


def _of_checkpoint(text: object, source: str) -> dict[str, Any]:
    """The groups and the seed of a checkpoint's JSON."""
    if not isinstance(text, str):
        raise Refused(f"{source} must be a text, got {type(text).__name__}")
    config = parse_json_object(text, source)
    config = {group: _option(group, name) for group, name in OF_OLDER_RUNS.items()} | config
    nodes = {group: _completed(group, _node(config, group, source)) for group in SELECTS}
    return nodes | {"random_seed": _seed(config, source)}


def _node(config: Any, group: str, source: str) -> dict[str, Any]:
    """A group's node of a stored configuration: plain values, under the name of an option."""
    node = config.get(group) if isinstance(config, dict) else None
    if not isinstance(node, dict) or not isinstance(node.get("params") or {}, dict):
        raise Refused(f"{source} has no {group} with a name and params")
    refuse_interpolations(node, f"{source}, {group}")
    option_file(group, node.get("name"))  # refuses what is no name
    return node


def _seed(config: dict[str, Any], source: str) -> int:
    seed = config.get("random_seed", 1234)
    if type(seed) is not int:
        raise Refused(f"{source}: random_seed expects a whole number, got {seed!r}"[:200])
    return seed


def _completed(group: str, node: dict[str, Any]) -> dict[str, Any]:
    """A run's node, and what its option has got since; the defaults of new keys change nothing."""
    if "params" not in node or not option_file(group, node["name"]).is_file():
        return node
    return node | {"params": _option(group, node["name"])["params"] | (node["params"] or {})}


def _translated(old: Any, source: str) -> dict[str, Any]:
    """A configuration of 2021 in today's form: the same names and values, with today's targets."""
    if not isinstance(old, dict):
        raise Refused(f"{source} must hold a configuration, got {type(old).__name__}")
    old = {group: {"name": name} for group, name in OF_OLDER_RUNS.items()} | old
    new: dict[str, Any] = {"random_seed": _seed(old, source)}
    for group in SELECTS:
        of_run = _node(old, group, source)
        node = _option(group, of_run["name"])
        known = {k: v for k, v in (of_run.get("params") or {}).items() if k in node["params"]}
        if "_target_" in node["params"]:
            known["_target_"] = node["params"]["_target_"]
        new[group] = node | {"params": node["params"] | known}
    return new


def _option(group: str, name: str) -> dict[str, Any]:
    """What the file of a group's option says.

    Raises:
        Refused: there is no such option.
    """
    path = option_file(group, name)
    if not path.is_file():
        raise Refused(f"{group} has no option {name!r}, which the run was trained with")
    return OmegaConf.to_container(OmegaConf.load(path))


def _refuse_contradiction(override: str, cfg: DictConfig, own: DictConfig, run_dir: Path) -> None:
    key = override.split("=", 1)[0].lstrip("+~")
    group = key.split(".")[0]
    if group in ABOUT_EXTRACTION + ABOUT_TRAINING or key in MAY_MOVE:
        return
    place = f"{key}.name" if key in SELECTS else key
    said, was = OmegaConf.select(cfg, place), OmegaConf.select(own, place)
    if said != was and not (place == "arch.params.n_classes" and was is None):
        raise Refused(
            f"the command says {key}={said}, but {run_dir} was trained with {key}={was}. Leave it "
            f"out (run={run_dir} is enough), or name the run that you mean."
        )
