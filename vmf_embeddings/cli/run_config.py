"""The configuration of a trained run, which later commands must not contradict."""

import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vmf_embeddings import typed
from vmf_embeddings.cli.assembly import Refused, option_file
from vmf_embeddings.cli.stored_sizes import refuse_sizes_beyond_weights
from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.plain import refuse_control_characters, refuse_interpolations
from vmf_embeddings.untrusted.text import printable
from vmf_embeddings.untrusted.yaml_text import read_yaml

# groups and keys of a command that concern how it works with a run, not what was trained
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
# paths may differ from those at the time of training
OVERRIDABLE_KEYS = (
    *("dataset.params.dataset_path", "dataset.params.cache_path", "dataset.params.download"),
    "arch.params.weights",
)
# `auto` becomes a value when training begins, which the run then states
RESOLVED_ONCE = ("dataset.params.normalisation", "dataset.params.image_size")
DEFAULTS_OF_OLDER_RUNS = {  # for runs from before these groups existed
    "head": "linear",
    "loss": "ce",
    "criterion": "proxy_anchor",
    "miner": "none",
    "feature_scaling": "none",
}
# values that options without the key had, where the default of today is another one
IMAGE_FILES = (
    *("cars196", "csv", "cub200", "folder", "image_list", "imagenet", "imagenet_lt", "inat2018"),
    *("inat2019", "inshop", "places_lt", "sop"),
)
PARAMS_OF_OLDER_RUNS: dict[tuple[str, str], dict[str, Any]] = {
    ("loss", "ib"): {"class_weights": "none"},
    **{("dataset", name): {"background": None} for name in IMAGE_FILES},
}
# how a value is set on a trained run
AFTER_TRAINING = {
    "method.params.posthoc_tau": "After training it is chosen on validation, by mode=posthoc_tau."
}
RUN_GROUPS = ("arch", "method", "dataset", *DEFAULTS_OF_OLDER_RUNS)


def configuration_of_run(
    cfg: DictConfig, run_dir: Path, checkpoint: dict[str, Any], overrides: list[str]
) -> DictConfig:
    """The command's configuration with the run's own arch, method and data set.

    Checkpoints of 2021 contain no configuration: for these it is read from the folder's
    `.hydra_train/config.yaml` or, if that is missing, is the one of the command.

    Args:
        cfg: composed configuration of the command.
        run_dir: the run's folder.
        checkpoint: the state of its best epoch.
        overrides: the command's overrides as typed.

    Returns:
        Configuration to build the run's parts from.

    Raises:
        Refused: an override contradicts the run; names both values.
    """
    stored = stored_configuration(run_dir, checkpoint)
    if stored is None:
        return cfg
    own = OmegaConf.merge(cfg, {key: None for key in RUN_GROUPS}, stored)
    for override in overrides:
        _refuse_contradiction(override, cfg, own, run_dir)
    for key in OVERRIDABLE_KEYS:
        if any(override.split("=")[0] == key for override in overrides):
            OmegaConf.update(own, key, OmegaConf.select(cfg, key))
    return own


def stored_configuration(run_dir: Path, checkpoint: dict[str, Any]) -> dict[str, Any] | None:
    """The groups that decide what a run computes, as it stored them.

    Args:
        run_dir: the run's folder.
        checkpoint: its best state.

    Returns:
        Group -> `{"name": …, "params": …}`, and `random_seed`; None for a run that stored none.

    Raises:
        Refused: it is not the plain values of a run's configuration, or asks for a network larger
            than the weights beside it.
    """
    stored = _stored(run_dir, checkpoint)
    if stored is None:
        return None
    refuse_sizes_beyond_weights(stored, checkpoint, str(run_dir))
    if "download" in (stored["dataset"].get("params") or {}):
        stored["dataset"]["params"]["download"] = False  # only a command may ask for the network
    return stored


def _stored(run_dir: Path, checkpoint: dict[str, Any]) -> dict[str, Any] | None:
    """The configuration in the checkpoint, or the one of 2021 in the run's folder."""
    if "config" in checkpoint:
        return _of_checkpoint(checkpoint["config"], f"the configuration in {run_dir}'s checkpoint")
    path = run_dir / ".hydra_train" / "config.yaml"
    if not os.path.lexists(path):
        return None
    return _translated(read_yaml(path), str(path))


def _of_checkpoint(text: object, source: str) -> dict[str, Any]:
    """The nodes of `RUN_GROUPS` and the seed, from the JSON in a checkpoint."""
    if not isinstance(text, str):
        raise Refused(f"{source} must be a text, got {type(text).__name__}")
    config = parse_json_object(text, source)
    older = {group: _option(group, name) for group, name in DEFAULTS_OF_OLDER_RUNS.items()}
    config = older | config
    nodes = {group: _completed(group, _node(config, group, source)) for group in RUN_GROUPS}
    return nodes | {"random_seed": _seed(config, source)}


def _node(config: Any, group: str, source: str) -> dict[str, Any]:
    """The node of a group in a stored configuration.

    Raises:
        Refused: it has no name and params, an interpolation, or a name that cannot be a file name.
    """
    node = config.get(group) if isinstance(config, dict) else None
    if not isinstance(node, dict) or not isinstance(node.get("params") or {}, dict):
        raise Refused(f"{source} has no {group} with a name and params")
    refuse_interpolations(node, f"{source}, {group}")
    option_file(group, node.get("name"))  # raises if it cannot be a file name
    refuse_control_characters(node, f"{source}, {group}")
    return node


def _seed(config: dict[str, Any], source: str) -> int:
    seed = config.get("random_seed", 1234)
    if type(seed) is not int or not 0 <= seed < 2**32:  # what all random generators take
        shown = "another one" if isinstance(seed, int) else printable(repr(seed))[:80]
        raise Refused(f"{source}: random_seed expects a whole number below 2^32, got {shown}")
    return seed


def _completed(group: str, node: dict[str, Any]) -> dict[str, Any]:
    """A run's node with keys that its option got later, at values that keep the old behaviour."""
    if "params" not in node or not option_file(group, node["name"]).is_file():
        return node
    older = PARAMS_OF_OLDER_RUNS.get((group, node["name"]), {})
    today = _option(group, node["name"])["params"]
    return node | {"params": today | older | (node["params"] or {})}


def _translated(old: Any, source: str) -> dict[str, Any]:
    """A configuration of 2021 in today's form: same names and values, today's `_target_`s."""
    if not isinstance(old, dict):
        raise Refused(f"{source} must hold a configuration, got {type(old).__name__}")
    old = {group: {"name": name} for group, name in DEFAULTS_OF_OLDER_RUNS.items()} | old
    new: dict[str, Any] = {"random_seed": _seed(old, source)}
    for group in RUN_GROUPS:
        of_run = _node(old, group, source)
        node = _option(group, of_run["name"])
        known = {k: v for k, v in (of_run.get("params") or {}).items() if k in node["params"]}
        if "_target_" in node["params"]:
            known["_target_"] = node["params"]["_target_"]
        older = PARAMS_OF_OLDER_RUNS.get((group, node["name"]), {})
        new[group] = node | {"params": node["params"] | older | known}
    return new


def _option(group: str, name: str) -> dict[str, Any]:
    """The content of an option's file.

    Raises:
        Refused: there is no such option.
    """
    path = option_file(group, name)
    if not path.is_file():
        raise Refused(f"{group} has no option {name!r}, which the run was trained with")
    return OmegaConf.to_container(OmegaConf.load(path))


def _refuse_contradiction(override: str, cfg: DictConfig, own: DictConfig, run_dir: Path) -> None:
    """Refuses an override of what the run determines if its value differs from the run's.

    Args:
        override: as typed.
        cfg: composed configuration of the command.
        own: the same with the run's groups.
        run_dir: the run's folder, for the message.

    Raises:
        Refused: names both values.
    """
    key = override.split("=", 1)[0].lstrip("+~")
    group = key.split(".")[0]
    if group in ABOUT_EXTRACTION + ABOUT_TRAINING or key in OVERRIDABLE_KEYS:
        return
    place = f"{key}.name" if key in RUN_GROUPS else key
    wanted, was = OmegaConf.select(cfg, place), OmegaConf.select(own, place)
    follows_others = (place == "arch.params.n_classes" and was is None) or (
        place == "arch.params.use_vmf" and None in (wanted, was)
    )
    follows_others |= wanted == "auto" and place in RESOLVED_ONCE
    if wanted != was and not follows_others:
        later = f" {AFTER_TRAINING[key]}" if key in AFTER_TRAINING else ""
        raise Refused(
            f"the command has {key}={wanted}, but {run_dir} was trained with {key}={was}. Leave it "
            f"out ({typed.override('run', run_dir)} is enough), or name the run that you mean."
            f"{later}"
        )
