"""Which options of an experiment are for its own method alone, where a command names another one.

An experiment such as `digits_open` chooses a method and what goes with it, as
`criterion=multisimilarity`. A method may choose options as well, as `method=nir` a criterion with
proxies. With `experiment=digits_open method=nir` the choice of the typed method counts.
"""

from collections.abc import Iterator, Sequence

from hydra._internal.config_repository import IConfigRepository
from hydra.core.default_element import ConfigDefault, GroupDefault, InputDefault

from vmf_embeddings.cli.as_typed import text_of


def groups_of_the_method(repository: IConfigRepository, typed: Sequence[str]) -> frozenset[str]:
    """The groups in which the typed method's choice replaces the one of the typed experiment.

    Args:
        repository: reads options.
        typed: the overrides of a command.

    Returns:
        Those that the file of the method overrides; none where the command names no method or no
        experiment, or the experiment's own method.
    """
    method, experiment = _typed(typed, "method"), _typed(typed, "experiment")
    if method is None or experiment is None:
        return frozenset()
    if _chosen(repository, f"experiment/{experiment}", "method") == method:
        return frozenset()
    return frozenset(_group(choice) for choice in _choices(repository, f"method/{method}"))


def without(defaults: list[InputDefault], groups: frozenset[str]) -> list[InputDefault]:
    """The defaults list of an experiment without its choices for `groups`."""
    return [one for one in defaults if not (_is_choice(one) and _group(one) in groups)]


def _typed(overrides: Sequence[str], group: str) -> str | None:
    """The option of a group that the command names; None without one, or with several."""
    found = [text_of(one) for one in overrides if one.partition("=")[0] == group]
    name = found[-1] if found else None
    return name if name is not None and name.isidentifier() else None


def _chosen(repository: IConfigRepository, path: str, group: str) -> str | None:
    """The option that an experiment chooses for a group, itself or in one that it builds on."""
    for choice in _choices(repository, path):
        if _group(choice) == group:
            return str(choice.value)
    return None


def _choices(repository: IConfigRepository, path: str) -> Iterator[GroupDefault]:
    """The `override` entries of an option's defaults list, then those of options it builds on."""
    loaded = repository.load_config(path) if repository.config_exists(path) else None
    entries = [] if loaded is None or loaded.defaults_list is None else loaded.defaults_list
    yield from (one for one in entries if _is_choice(one))
    for one in entries:
        if isinstance(one, ConfigDefault) and one.path not in (None, "_self_"):
            yield from _choices(repository, f"{path.rpartition('/')[0]}/{one.path}")


def _group(choice: GroupDefault) -> str:
    """The group of an entry such as `override /criterion: proxy_anchor`."""
    return (choice.group or "").lstrip("/")


def _is_choice(one: InputDefault) -> bool:
    return isinstance(one, GroupDefault) and one.is_override()
