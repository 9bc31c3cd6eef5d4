"""Checks of the overrides on a command line, and error messages with suggestions."""

import difflib
import os
import re
import sys
from pathlib import Path

from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vmf_embeddings import typed
from vmf_embeddings.cli import wrapped_methods
from vmf_embeddings.cli.as_typed import as_typed, parts, text_of
from vmf_embeddings.cli.assembly import Refused
from vmf_embeddings.cli.composition import CheckedLoader, package_configuration
from vmf_embeddings.cli.declared import LISTS_OF_TEXT, Declarations
from vmf_embeddings.cli.help import CONF, config_folders

UNCHECKED_GROUPS = ("mode", "trainer", "logger")  # no constructor checks their keys
# more types than their default's: the optimizer and the method check them
OF_SEVERAL_TYPES = (
    *("optimizer.params.rho", "arch.params.kappa_confidence", "dataset.params.image_size"),
)
NO_OUTPUT = ("hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none")


def with_rank_overrides(arguments: list[str]) -> list[str]:
    """Adds overrides by which only rank 0 of `torchrun` writes logs and configurations."""
    if int(os.environ.get("RANK", "0")) > 0:
        return [*arguments, *NO_OUTPUT]
    return arguments


def quoted(arguments: list[str]) -> list[str]:
    """The arguments of a command, quoted so that values of text keys are what was typed.

    Names of wrapped methods are spelled as choices of a group, see `wrapped_methods`.

    Raises:
        Refused: see `as_typed.as_typed`; or an argument is no override.
    """
    arguments = wrapped_methods.spelled_out(arguments)

    def package() -> DictConfig:
        return package_configuration(dict(c.split("=", 1) for c in _chosen(arguments)))

    declarations = Declarations(lambda: _defaults(_valid_groups(arguments)), package)
    try:
        return as_typed(arguments, declarations, _is_group)
    except (HydraException, OmegaConfBaseException):
        return arguments  # what cannot be composed is explained when the command composes


def refuse_before_composing(arguments: list[str]) -> None:
    """Refuses overrides that compose, but not to what was meant, such as an empty name.

    Args:
        arguments: as `quoted` returns them.

    Raises:
        Refused: naming the argument.
    """
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key.startswith("~") and not key.startswith("~hydra"):
            raise Refused(f"{argument}: nothing can be taken away here; give {key[1:]} a value")
        text = text_of(argument)
        blank = text is not None and text.strip() in ("", "None", ".")
        if key == "name" and (blank or ".." in (text or "").split("/")):
            raise Refused(f"{argument}: expected a name for the run's folder, as in name=run_2")
        if key == "run" and text is not None and not Path(text).is_dir():
            raise Refused(f"{argument}: no checkpoint, for there is no such folder")


def refuse_pickles(arguments: list[str]) -> None:
    """Refuses Hydra's option that repeats a job from a pickle: loading one can run any code.

    Raises:
        Refused: with what to type instead.
    """
    pickle = get_args_parser().parse_intermixed_args(arguments).experimental_rerun
    if pickle is not None:
        raise Refused(
            f"--experimental-rerun {pickle}: loading a pickle runs the code in it, so none is "
            "loaded here. Type the run's overrides again; they are in .hydra_train/overrides.yaml"
        )


def check_keys(cfg: DictConfig) -> None:
    """Refuses keys that nothing reads, as in `+mode.epoch=3` or in a file of `--config-dir`.

    The keys of other groups are constructor arguments, which are checked where they are used.

    Raises:
        Refused: naming the key, and a similar one.
    """
    choices = HydraConfig.get().runtime.choices
    known = _keys(_defaults([f"{group}={choices[group]}" for group in UNCHECKED_GROUPS]))
    for key in _keys(cfg):
        if key not in known and (
            key.split(".")[0] in UNCHECKED_GROUPS or key.split(".")[0] not in GROUPS
        ):
            raise Refused(f"nothing reads {key!r}{_did_you_mean(key, known)}")


def check_value_types(cfg: DictConfig, overrides: list[str] | None = None) -> None:
    """Refuses overrides whose value has another type than the default, as in `mode.epochs=ten`.

    Args:
        cfg: composed configuration.
        overrides: those that it was composed with; None = those of the command.

    Raises:
        Refused: naming the key, what was expected and what came.
    """
    if overrides is None:
        overrides = list(HydraConfig.get().overrides.task)
    defaults = _defaults([o for o in overrides if "." not in o.split("=")[0]])
    for override in overrides:
        key = override.split("=", 1)[0]
        if key.startswith(("+", "~")) or "@" in key:
            continue
        default, value = OmegaConf.select(defaults, key), OmegaConf.select(cfg, key)
        wanted = _type_name(default)
        if wanted is not None and key not in OF_SEVERAL_TYPES and not _fits(value, default):
            raise Refused(f"{key} expects {wanted} (default: {default}), got {value!r}")


def _defaults(group_choices: list[str]) -> DictConfig:
    """The configuration with these options of groups, and defaults for all else."""
    return composed([o for o in group_choices if _is_group(o.split("=")[0])])


def composed(overrides: list[str]) -> DictConfig:
    """The configuration that a command with these overrides composes, with the node `hydra`."""
    if GlobalHydra.instance().is_initialized():
        loader = GlobalHydra.instance().config_loader()
    else:
        loader = _own_loader()
    return loader.load_configuration("config", overrides, run_mode=RunMode.RUN)


def _own_loader() -> CheckedLoader:
    """A loader of this package's options and of those in the folder of `--config-dir`."""
    path = create_config_search_path(str(CONF))
    for folder in config_folders(sys.argv[1:]):
        path.prepend("command-line", f"file://{folder}", anchor="schema")
    return CheckedLoader(path)


def _is_group(key: str) -> bool:
    return key in GROUPS


GROUPS = (
    "arch method head loss criterion miner feature_scaling dataset sampler mode optimizer schedule "  # noqa: SIM905
    "logger trainer stages experiment".split()
)


def _type_name(default: object) -> str | None:
    """The type of `default` in words; None where values of any type are accepted."""
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, int):
        return "a whole number"
    if isinstance(default, float):
        return "a number"
    if isinstance(default, ListConfig):
        return "a list of numbers" if _has_numbers(default) else "a list"
    return None


def _fits(value: object, default: object) -> bool:
    if value is None or isinstance(default, bool) or isinstance(value, bool):
        return value is None or (isinstance(value, bool) and isinstance(default, bool))
    if isinstance(default, ListConfig):
        is_list = isinstance(value, ListConfig)
        return is_list and (not _has_numbers(default) or not value or _has_numbers(value))
    # a default written as 0 may be a float, as mode.momentum
    numbers = (int, float) if isinstance(default, float) or default == 0 else int
    return isinstance(value, numbers)


def _has_numbers(values: ListConfig) -> bool:
    """Whether a list has elements, all of them numbers."""
    kinds = {type(value) for value in values}
    return bool(kinds) and kinds <= {int, float}


def explain(error: Exception, arguments: list[str]) -> str:
    """The error message for a command line that does not compose, with a similar name."""
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        options = sorted(error.options or [])
        guess = _did_you_mean(option, options)
        return f"{group} has no option {option!r}{guess} It has: {', '.join(options)}."
    if isinstance(error, OverrideParseException):
        return _explain_unreadable(error.override)
    several = re.search(r"Ambiguous value for argument '(.*)'", str(error))
    if several is not None:
        return _explain_several(several.group(1))
    twice = re.search(r"Multiple values for (\S+)\.", str(error))
    if twice is not None:
        return f"{twice.group(1)} has one option: type {twice.group(1)}=… once, and without +"
    unknown = re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", str(error))
    return str(error) if unknown is None else _explain_unknown(unknown[1] or unknown[2], arguments)


def _explain_unknown(key: str, arguments: list[str]) -> str:
    """The error message for a key that a configuration lacks."""
    defaults = _defaults(_valid_groups(arguments))
    known = [*_keys(defaults), *GROUPS]
    if key.split(".")[0] == "hydra":
        known = _keys(defaults.hydra, "hydra.")
    if key in known:
        return _explain_missing_in_a_job(key, arguments)
    return (
        f"there is no {key!r} in this configuration{_did_you_mean(key, known)} "
        "--help lists the groups, --cfg job every key."
    )


def _explain_unreadable(override: str) -> str:
    """The error message for an argument that the grammar of overrides cannot read."""
    key, equals, value = override.partition("=")
    if not equals:
        return (
            f"{override}: expected an override, key=value as in mode.epochs=2; --help lists the "
            "groups, --cfg job every key"
        )
    if not re.fullmatch(r"[+~]{0,2}[\w.@/$-]+", key):
        return f"{override}: {key!r} is no key; --cfg job lists every key"
    if key in LISTS_OF_TEXT:
        return f"{override}: expected a list; type {typed.given([f'{key}=[{value}]'])}"
    return (
        f"{override}: the value is no number, list or word. If it is a text, type "
        f"{typed.quoted_override(key, value)}"
    )


def _explain_missing_in_a_job(key: str, arguments: list[str]) -> str:
    """The error message for a key that some jobs of a sweep have and others lack."""
    without = []
    for group, options in ((k, parts(v)) for k, _, v in (a.partition("=") for a in arguments)):
        if not _is_group(group) or len(options) < 2:
            continue
        others = [a for a in _valid_groups(arguments) if not a.startswith(f"{group}=")]
        for option in _valid_groups([f"{group}={one.strip()}" for one in options]):
            if key not in _keys(_defaults([*others, option])):
                without.append(option)
    named = f" (not in that of {', '.join(without)})" if without else ""
    return (
        f"{key} is not in the configuration of every job of this sweep{named}: leave it out, or "
        "give the jobs that have it a command of their own"
    )


def _explain_several(override: str) -> str:
    """The error message for values between commas where one is expected and no sweep was asked."""
    key, _, value = override.partition("=")
    decimals = re.fullmatch(r"(-?\d+),(\d+)", value)
    point = f"; for the number itself type {key}={decimals[1]}.{decimals[2]}" if decimals else ""
    listed = typed.given([f"{key}=[{value}]"])
    return (
        f"{override}: add -m to try the values one after the other{point}; for a list, where the "
        f"key takes one, type {listed}"
    )


def _valid_groups(arguments: list[str]) -> list[str]:
    """The arguments `group=option` that name an existing option; of a sweep, its first one."""
    loader = _own_loader()
    pairs = [c.split("=", 1) for c in _chosen(arguments)]
    return [f"{k}={v}" for k, v in pairs if v in loader.get_group_options(k)]


def _chosen(arguments: list[str]) -> list[str]:
    """The arguments `group=option`; of several options to be tried, the first one."""
    pairs = [a.partition("=")[::2] for a in arguments]
    return [f"{k}={parts(v)[0].strip()}" for k, v in pairs if _is_group(k)]


def _keys(node: DictConfig, prefix: str = "") -> list[str]:
    """All dotted keys of a configuration except `hydra` and `_target_`."""
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
    """`; did you mean …?` if a known word is similar, else a full stop."""
    last = {k.rpartition(".")[2]: k for k in known}
    node, _, end = word.rpartition(".")
    close = [
        *difflib.get_close_matches(word, [k for k in known if k != node], n=1, cutoff=0.7),
        *(last[m] for m in difflib.get_close_matches(end, list(last), n=1, cutoff=0.7)),
        *(k for k in known if len(word) > 2 and k.startswith(word)),
    ]
    return f"; did you mean {close[0]!r}?" if close else "."
