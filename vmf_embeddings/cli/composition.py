"""Composes configurations of which some files may come from somebody else (`--config-dir`).

Such files may choose options and values. The node `hydra` decides what runs, where files are
written and what the environment is: only this package and the command line may set it.
"""

import functools
import re
from pathlib import Path
from typing import Any

import hydra._internal.hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import (
    CachingConfigRepository,
    ConfigRepository,
    IConfigRepository,
)
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from vmf_embeddings.cli import experiment_choices, output_folders, texts_in_files
from vmf_embeddings.cli.help import CONF
from vmf_embeddings.untrusted.plain import refuse_functions
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable
from vmf_embeddings.untrusted.yaml_text import read_yaml

# keys of `hydra` that a received file may set: whether to sweep, over which keys, how many trials
SETTABLE_BY_FILES = re.compile(
    r"mode|verbose|sweeper\.(n_trials|n_jobs|direction|max_batch_size)"
    r"|sweeper\.params\.(?!hydra\b|run$)[a-z_][a-z0-9_.]*"
)


def install() -> None:
    """Makes Hydra compose with `CheckedLoader`, in this command and in every job of its sweep."""
    hydra._internal.hydra.ConfigLoaderImpl = CheckedLoader


class ReceivedFolder(FileConfigSource):
    """A folder of options from outside this package, as given by `--config-dir`."""

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider, path)
        self.scalars = texts_in_files.Scalars()

    def load_config(self, config_path: str) -> ConfigResult:
        """Reads an option after checking that its file holds plain values.

        Raises:
            Refused: the file lies outside the folder, has aliases or tags, or interpolations that
                call functions.
        """
        path = Path(self.path) / self._normalize_file_name(config_path)
        if not path.resolve().is_relative_to(Path(self.path).resolve()):
            raise Refused(f"{path} leads out of the folder {self.path}")
        values = read_yaml(path)
        refuse_functions(values, str(path))
        result = super().load_config(config_path)
        package = result.header.get("package")
        self.scalars += texts_in_files.scalars(path, config_path, package)
        if OmegaConf.is_dict(result.config) and "searchpath" in (result.config.get("hydra") or {}):
            raise _only_on_command_line("searchpath", str(path))
        return result


class CheckedRepository(ConfigRepository):
    """A repository that knows which of its folders come from outside this package."""

    groups_of_the_method: frozenset[str] = frozenset()
    """Groups in which the choice of the typed method replaces that of the experiment."""

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Reads an option; an experiment without its choices for `groups_of_the_method`."""
        result = super().load_config(config_path)
        if result is not None and result.defaults_list and config_path.startswith("experiment/"):
            result.defaults_list = experiment_choices.without(
                result.defaults_list, self.groups_of_the_method
            )
        return result

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Opens the folders of a search path."""
        super().initialize_sources(config_search_path)
        self.sources = [
            ReceivedFolder(s.provider, s.path) if _is_received(s) else s for s in self.sources
        ]

    @property
    def received(self) -> list[str]:
        """The folders from outside this package."""
        return [s.path for s in self.sources if isinstance(s, ReceivedFolder)]

    @property
    def scalars(self) -> list[texts_in_files.Scalars]:
        """Of each of those folders, what its options hold that is no text."""
        return [s.scalars for s in self.sources if isinstance(s, ReceivedFolder)]

    def _find_object_source(
        self, config_path: str, object_type: ObjectType | None
    ) -> ConfigSource | None:
        if ".." in config_path.split("/") or config_path.startswith("/"):
            raise Refused(
                f"{printable(config_path)[:200]}: expected the name of an option, which lies in "
                "its group's folder"
            )
        return super()._find_object_source(config_path, object_type)


def _no_option(overrides: list[str]) -> str:
    """What to say of overrides of which one gives a group something else than an option's name."""
    groups = [one for one in overrides if (CONF / one.lstrip("+").split("=")[0]).is_dir()]
    return (
        f"{printable(' '.join(groups))[:200]}: a group takes the name of one of its options, as in "
        "method=arcface; leave the group out for its default"
    )


class CheckedLoader(ConfigLoaderImpl):
    """Composes as Hydra does, and refuses settings that a received file may not make."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self.repository = CheckedRepository(config_search_path)
        self._typed: list[str] = []

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """As `ConfigLoaderImpl.load_configuration`, with the checks of this module.

        Raises:
            Refused: a received file sets a key of `hydra`, or a name would lead out of the folder
                of runs.
        """
        self._typed = overrides
        self.repository.groups_of_the_method = frozenset()  # to read what the experiment says
        self.repository.groups_of_the_method = experiment_choices.groups_of_the_method(
            self.repository, overrides
        )
        for scalars in self.repository.scalars:
            scalars.clear()
        try:
            cfg = super().load_configuration(
                config_name, overrides, run_mode, from_shell, validate_sweep_overrides
            )
        except ValueError as error:
            if "Config group override" not in str(error):
                raise
            raise Refused(_no_option(overrides)) from error
        found = [one for scalars in self.repository.scalars for one in scalars]
        texts_in_files.restore(cfg, found, _package_configuration)
        texts_in_files.quote_sweep(cfg, _package_configuration)
        output_folders.refuse_names_that_lead_away(cfg)
        if self.repository.received:
            _refuse_run_in_files(cfg, overrides)
        key = "run" if run_mode == RunMode.RUN else "sweep"
        output_folders.refuse_links(cfg, f"hydra.{key}.dir")
        return cfg

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        """As `ConfigLoaderImpl.load_sweep_config`, and refuses links in the job's folder."""
        cfg = super().load_sweep_config(master_config, sweep_overrides)
        output_folders.refuse_links(cfg, "hydra.sweep.dir", "hydra.sweep.subdir")
        return cfg

    def _compose_config_from_defaults_list(
        self, defaults: list[ResultDefault], repo: IConfigRepository
    ) -> DictConfig:
        cfg = super()._compose_config_from_defaults_list(defaults, repo)
        if self.repository.received:
            _refuse_hydra_keys(cfg, self._typed, ", ".join(self.repository.received))
        return cfg


def _is_received(source: ConfigSource) -> bool:
    # not isinstance: Hydra imports the classes of its plugins a second time
    return source.scheme() == "file" and Path(source.path).resolve() != CONF.resolve()


def _refuse_run_in_files(cfg: DictConfig, overrides: list[str]) -> None:
    """Refuses a value of `run` from a file: files would be written to a folder of its choice."""
    run = OmegaConf.select(cfg, "run", throw_on_missing=False, default=None)
    if run is not None and not any(o.split("=")[0].lstrip("+") == "run" for o in overrides):
        raise Refused(f"run={printable(run)[:200]} comes from a file: type it, if you mean it")


def _refuse_hydra_keys(cfg: DictConfig, typed: list[str], folders: str) -> None:
    """Refuses keys of the node `hydra` that differ from those composed without received files."""
    known, now = _leaves(_hydra_without_files(typed)), _leaves(cfg.get("hydra"))
    for key, value in now.items():
        if not SETTABLE_BY_FILES.fullmatch(key) and (key not in known or known[key] != value):
            raise _only_on_command_line(key, folders)
    for key in known.keys() - now.keys():
        if not any(other.startswith(f"{key}.") for other in now):  # checked above
            raise _only_on_command_line(key, folders)


def _only_on_command_line(key: str, source: str) -> Refused:
    return Refused(
        f"hydra.{printable(key)[:200]} is set by a file of {printable(source)}: what Hydra runs, "
        "where it writes and the environment are decided on the command line alone. Take it out "
        "of the file, and type it if you mean it"
    )


def _hydra_without_files(typed: list[str]) -> DictConfig:
    """The node `hydra` from this package's files and the options `hydra/…=` that were typed."""
    loader = ConfigLoaderImpl(create_config_search_path(str(CONF)))
    parsed = OverridesParser.create().parse_overrides(typed)
    choices = [o.input_line for o in parsed if o.key_or_group.startswith("hydra/")]
    try:
        found = loader.compute_defaults_list("config", choices, RunMode.MULTIRUN)
    except HydraException as error:
        raise Refused(
            f"{' '.join(choices)}: options of Hydra's groups come from installed packages only "
            f"({error})"
        ) from error
    repository = CachingConfigRepository(loader.repository)
    return loader._compose_config_from_defaults_list(found.defaults, repository).hydra


def package_configuration(choices: dict[str, str]) -> DictConfig:
    """The configuration of this package's files alone.

    Args:
        choices: group -> option; those that this package has are chosen.
    """
    known = [f"{k}={v}" for k, v in choices.items() if (CONF / k / f"{v}.yaml").is_file()]
    return _composed(tuple(known))


@functools.cache
def _composed(choices: tuple[str, ...]) -> DictConfig:
    loader = ConfigLoaderImpl(create_config_search_path(str(CONF)))
    cfg = loader.load_configuration("config", list(choices), RunMode.RUN)
    OmegaConf.set_readonly(cfg, True)  # the same for every caller
    return cfg


def _package_configuration(cfg: DictConfig) -> DictConfig:
    choices = cfg.hydra.runtime.choices
    return package_configuration({k: v for k, v in choices.items() if k.isidentifier()})


def _leaves(node: Any) -> dict[str, Any]:
    """Dotted key -> unresolved value of a node; empty lists and dicts are values."""
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=False)
    if not isinstance(node, dict) or not node:
        return {"": node}
    return {
        f"{key}.{inside}" if inside else str(key): leaf
        for key, value in node.items()
        for inside, leaf in _leaves(value).items()
    }
