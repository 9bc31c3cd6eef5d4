"""What a command line may say: types of its values, and clear words for its mistakes."""

import difflib
import os
import re
import sys
from pathlib import Path

from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from vmf_embeddings.cli.assembly import Refused
from vmf_embeddings.cli.composition import CheckedLoader
from vmf_embeddings.cli.help import CONF, folders_of_ones_own

FLAT = ("mode", "trainer", "logger")  # groups that no constructor checks
BY_EPOCHS = ("optimizer.params.rho",)  # a number, or a list of them; whatever it builds checks
SILENT = ("hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none")


def complete(arguments: list[str]) -> list[str]:
    """Under `torchrun`, keeps all processes but the first from writing logs and configs."""
    if int(os.environ.get("RANK", "0")) > 0:
        return [*arguments, *SILENT]
    return arguments


def refuse_before_composing(arguments: list[str]) -> None:
    """Refuses what would compose into something else than was meant, such as an empty name.

    Raises:
        Refused: naming the argument.
    """
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key.startswith("~") and not key.startswith("~hydra"):
            raise Refused(f"{argument}: nothing can be taken away here; give {key[1:]} a value")
        if key == "name" and (value in ("", "null", "None", ".") or ".." in value.split("/")):
            raise Refused(f"{argument}: expected a name for the run's folder, as in name=run_2")
        folder = value.strip("'\"")
        if key == "run" and folder != "null" and "," not in value and not Path(folder).is_dir():
            raise Refused(f"{argument}: no checkpoint, for there is no such folder")
        if _is_group(key) and re.fullmatch(r"[-+.\d]+|true|false", value, re.IGNORECASE):
            raise Refused(f"{argument}: expected the name of an option; --help lists them")


def refuse_pickles(arguments: list[str]) -> None:
    """Refuses to repeat a job from a pickle, which can run anything while it is read.

    Raises:
        Refused: with what to type instead.
    """
    pickle = get_args_parser().parse_args(arguments).experimental_rerun
    if pickle is not None:
        raise Refused(
            f"--experimental-rerun {pickle}: a pickle runs whatever code it holds, so none is read "
            "here. Type the run's overrides again; they are in .hydra_train/overrides.yaml"
        )


def check_keys(cfg: DictConfig) -> None:
    """Refuses keys that nothing reads, as in `+mode.epoch=3` or in a file of one's own.

    The keys of other groups are arguments, which whatever they build checks.

    Raises:
        Refused: naming the key, and one that it may stand for.
    """
    choices = HydraConfig.get().runtime.choices
    known = _keys(_defaults([f"{group}={choices[group]}" for group in FLAT]))
    for key in _keys(cfg):
        if key not in known and (key.split(".")[0] in FLAT or key.split(".")[0] not in GROUPS):
            raise Refused(f"nothing reads {key!r}{_did_you_mean(key, known)}")


def check_value_types(cfg: DictConfig) -> None:
    """Refuses overrides whose value is of another kind than the default, as in `mode.epochs=ten`.

    Raises:
        Refused: naming the key, what was expected and what came.
    """
    overrides = list(HydraConfig.get().overrides.task)
    defaults = _defaults([o for o in overrides if "." not in o.split("=")[0]])
    for override in overrides:
        key = override.split("=", 1)[0]
        if key.startswith(("+", "~")) or "@" in key:
            continue
        default, value = OmegaConf.select(defaults, key), OmegaConf.select(cfg, key)
        wanted = _kind(default)
        if wanted is not None and key not in BY_EPOCHS and not _fits(value, default):
            raise Refused(f"{key} expects {wanted} (default: {default}), got {value!r}")


def _defaults(group_choices: list[str]) -> DictConfig:
    """The configuration with nothing but its group options chosen."""
    return composed([o for o in group_choices if _is_group(o.split("=")[0])])


def composed(overrides: list[str]) -> DictConfig:
    """What a command with these overrides would compose, Hydra's own node included."""
    if GlobalHydra.instance().is_initialized():
        loader = GlobalHydra.instance().config_loader()
    else:
        loader = _own_loader()
    return loader.load_configuration("config", overrides, run_mode=RunMode.RUN)


def _own_loader() -> CheckedLoader:
    """Knows this package's options, and those of the folder given by `--config-dir`."""
    path = create_config_search_path(str(CONF))
    for folder in folders_of_ones_own(sys.argv[1:]):
        path.prepend("command-line", f"file://{folder}", anchor="schema")
    return CheckedLoader(path)


def _is_group(key: str) -> bool:
    return key in GROUPS


GROUPS = (
    "arch method head loss criterion miner feature_scaling dataset sampler mode optimizer schedule "  # noqa: SIM905
    "logger trainer stages experiment".split()
)


def _kind(default: object) -> str | None:
    """In words, the kind of value that `default` calls for; None where anything goes."""
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, int):
        return "a whole number"
    if isinstance(default, float):
        return "a number"
    if isinstance(default, ListConfig):
        return "a list"
    return None


def _fits(value: object, default: object) -> bool:
    if value is None or isinstance(default, bool) or isinstance(value, bool):
        return value is None or (isinstance(value, bool) and isinstance(default, bool))
    if isinstance(default, ListConfig):
        return isinstance(value, ListConfig)
    # a default of 0 may stand for a rate that is 0 unless somebody sets it, as mode.momentum
    numbers = (int, float) if isinstance(default, float) or default == 0 else int
    return isinstance(value, numbers)


def explain(error: Exception, arguments: list[str]) -> str:
    """Says what is wrong with a command line that does not compose, and what was meant."""
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        options = sorted(error.options or [])
        guess = _did_you_mean(option, options)
        return f"{group} has no option {option!r}{guess} It has: {', '.join(options)}."
    twice = re.search(r"Multiple values for (\S+)\.", str(error))
    if twice is not None:
        return f"{twice.group(1)} has one option: say {twice.group(1)}=… once, and without +"
    unknown = re.search(r"Could not override '([^']+)'", str(error))
    if unknown is None:
        unknown = re.search(r"Key '([^']+)' is not in struct", str(error))
    if unknown is None:
        return str(error)
    key = unknown.group(1)
    defaults = _defaults(_valid_groups(arguments))
    known = [*_keys(defaults), *GROUPS]
    if key.split(".")[0] == "hydra":
        known = _keys(defaults.hydra, "hydra.")
    return (
        f"there is no {key!r} in this configuration{_did_you_mean(key, known)} "
        "--help lists the groups, --cfg job every key."
    )


def _valid_groups(arguments: list[str]) -> list[str]:
    """The group choices among `arguments` that name an existing option."""
    choices = [a for a in arguments if _is_group(a.split("=")[0]) and "," not in a]
    loader = _own_loader()
    return [c for c in choices if c.split("=")[1] in loader.get_group_options(c.split("=")[0])]


def _keys(node: DictConfig, prefix: str = "") -> list[str]:
    """All dotted keys of a configuration, but Hydra's and those that say what to build."""
    found = []
    for key in node:
        name = f"{prefix}{key}"
        if name == "hydra" or key == "_target_":
            continue
        found.append(name)
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none():
            found += _keys(child, f"{name}.")
    return found


def _did_you_mean(word: str, known: list[str]) -> str:
    """`; did you mean …?` where something known is close, else a full stop."""
    last = {k.rpartition(".")[2]: k for k in known}
    end = word.rpartition(".")[2]
    close = [
        *difflib.get_close_matches(word, known, n=1, cutoff=0.7),
        *(last[m] for m in difflib.get_close_matches(end, list(last), n=1, cutoff=0.7)),
        *(k for k in known if len(word) > 2 and k.startswith(word)),
    ]
    return f"; did you mean {close[0]!r}?" if close else "."
