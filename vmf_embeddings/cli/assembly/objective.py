"""The parts of a method and its changed parameters, as overrides of the command line."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from vmf_embeddings.catalogue import options_inside, wrapped_keys
from vmf_embeddings.cli.assembly.options import option_file
from vmf_embeddings.cli.assembly.parts import groups_read

OTHER_RUNS = ("teacher",)  # parameters that name a run: replications may differ in them


def objective(cfg: DictConfig) -> dict[str, Any] | None:
    """The options of the groups that the method uses, and parameters that differ from their files.

    Two runs that differ here are not replications of one experiment.

    Args:
        cfg: composed configuration.

    Returns:
        Overrides, key -> value: `{"criterion": "margin", "criterion.params.beta": 0.6}`. None for
        a method without such groups and with its default parameters.
    """
    read = groups_read(cfg)
    found: dict[str, Any] = {group: str(cfg[group].name) for group in read}
    for group in ("method", *read):
        found |= _differing(group, OmegaConf.to_container(cfg[group], resolve=True), group)
    return found or None


def _differing(group: str, node: dict[str, Any], place: str) -> dict[str, Any]:
    """Parameters of the option at key `place`, nested ones too, that differ from their files."""
    path = option_file(group, node["name"])
    if not path.is_file():  # a user's own option, or the method that a second stage makes
        return _wrapped(node, place)
    file = OmegaConf.to_container(OmegaConf.load(path))
    inside = options_inside(file.get("defaults", []))
    found: dict[str, Any] = {}
    for key, value in node.get("params", {}).items():
        at = f"{place}.params.{key}"
        if key not in inside:
            found |= _changed(at, value, file["params"].get(key))
            continue
        nested_group, default = inside[key]
        if value["name"] != default:
            found[f"{nested_group}@{at}"] = value["name"]
        found |= _differing(nested_group, value, at)
    return {key: v for key, v in found.items() if not key.endswith(OTHER_RUNS)}


def _wrapped(node: dict[str, Any], place: str) -> dict[str, Any]:
    """The methods inside a method that has no file, by their names, and what differs in them."""
    found: dict[str, Any] = {}
    for key in wrapped_keys(node.get("params", {})):
        at, inside = f"{place}.params.{key}", node["params"][key]
        found |= {f"method@{at}": inside["name"]} | _differing("method", inside, at)
    return found


def _changed(at: str, value: Any, default: Any) -> dict[str, Any]:
    """The leaves of a parameter that differ from its default, by their keys.

    >>> _changed("flow", {"depth": 8, "width": 64}, {"depth": 8, "width": 128})
    {'flow.width': 64}
    """
    if not (isinstance(value, dict) and isinstance(default, dict)):
        return {} if value == default else {at: value}
    return {
        k: v
        for key in value
        for k, v in _changed(f"{at}.{key}", value[key], default.get(key)).items()
    }
