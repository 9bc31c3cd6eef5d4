"""The options under `conf/`, read as plain values: names, first lines, defaults. Needs no Hydra."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

CONF = Path(__file__).parent / "conf"
WRAPPED = ("student", "objective")  # parameters of methods that hold another method


def names(group: str) -> list[str]:
    """The options of a configuration group in alphabetical order, such as `names("loss")`."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def summary(group: str, name: str) -> str:
    """The first line of an option's file: what it is, and its paper."""
    with (CONF / group / f"{name}.yaml").open(encoding="utf-8") as stream:
        return stream.readline().removeprefix("#").strip()


def option(group: str, name: str) -> dict[str, Any]:
    """Content of the file of an option, with the options nested in its parameters filled in.

    Args:
        group: configuration group.
        name: option of it.

    Returns:
        `{"name": …, "params": {"_target_": …, …}}`, a fresh copy.

    Raises:
        ValueError: there is no such option.
    """
    if name not in names(group):
        raise ValueError(f"{group} has no option {name!r}; it has {', '.join(names(group))}")
    node = _file(group, name)
    for place, (of_group, chosen) in options_inside(node.pop("defaults", [])).items():
        node["params"].setdefault(place, option(of_group, chosen))
    return node


def overrides(group: str, name: str) -> dict[str, str]:
    """Defaults of other groups that an option replaces, such as `{"loss": "balanced_softmax"}`."""
    pairs = _pairs(_file(group, name).get("defaults", []))
    changed = [key.removeprefix("override /").partition("@_global_.") for key, _ in pairs]
    chosen = [value for _, value in pairs]
    return {of: value for (_, at, of), value in zip(changed, chosen, strict=True) if at}


def options_inside(defaults: list[Any]) -> dict[str, tuple[str, str]]:
    """Parameter -> (group, default option), for the options nested in an option's parameters.

    >>> options_inside([{"/criterion@params.source": "margin"}, "_self_"])
    {'source': ('criterion', 'margin')}
    """
    taken = [(*key.split("@params."), name) for key, name in _pairs(defaults) if "@params." in key]
    return {parameter: (group.lstrip("/"), name) for group, parameter, name in taken}


def wrapped_keys(params: Any) -> list[str]:
    """The parameters of a method that hold another method.

    >>> wrapped_keys({"teacher": None, "student": {"name": "classifier"}})
    ['student']
    """
    return [key for key in WRAPPED if key in params and hasattr(params[key], "keys")]


def _pairs(defaults: list[Any]) -> list[tuple[str, str]]:
    return [pair for entry in defaults if isinstance(entry, dict) for pair in entry.items()]


def _file(group: str, name: str) -> dict[str, Any]:
    return copy.deepcopy(_content(CONF / group / f"{name}.yaml"))


@cache
def _content(path: Path) -> dict[str, Any]:
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))
