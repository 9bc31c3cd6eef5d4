"""What a method was put together from, in the words of the command line."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from vmf_embeddings.cli.assembly.options import option_file
from vmf_embeddings.cli.assembly.parts import groups_read

NAME_OTHER_RUNS = ("teacher",)  # replications have one each


def objective(cfg: DictConfig) -> dict[str, Any] | None:
    """The options of the groups that the method reads, and knobs that differ from their files.

    Runs that differ here are no replications of one another.

    Args:
        cfg: composed configuration.

    Returns:
        Key -> value, as they are typed: `{"criterion": "margin", "criterion.params.beta": 0.6}`.
        None where there is nothing to say beside the name of the method.
    """
    read = groups_read(cfg)
    said: dict[str, Any] = {group: str(cfg[group].name) for group in read}
    for group in ("method", *read):
        said |= _differing(group, OmegaConf.to_container(cfg[group], resolve=True), group)
    return said or None


def _differing(group: str, node: dict[str, Any], place: str) -> dict[str, Any]:
    """Knobs of an option at `place` that its file says otherwise; options inside it likewise."""
    path = option_file(group, node["name"])
    if not path.is_file():  # of somebody's own
        return {}
    file = OmegaConf.to_container(OmegaConf.load(path))
    inside = _options_inside(file.get("defaults", []))
    found: dict[str, Any] = {}
    for key, value in node.get("params", {}).items():
        at = f"{place}.params.{key}"
        if key not in inside:
            found |= _changed(at, value, file["params"].get(key))
            continue
        of_group, usual = inside[key]
        if value["name"] != usual:
            found[f"{of_group}@{at}"] = value["name"]
        found |= _differing(of_group, value, at)
    return {key: v for key, v in found.items() if not key.endswith(NAME_OTHER_RUNS)}


def _options_inside(defaults: list[Any]) -> dict[str, tuple[str, str]]:
    """Knob -> group and usual option, of the options that a file takes in among its knobs.

    >>> _options_inside([{"/criterion@params.source": "margin"}, "_self_"])
    {'source': ('criterion', 'margin')}
    """
    pairs = [pair for one in defaults if isinstance(one, dict) for pair in one.items()]
    taken = [(*key.split("@params."), option) for key, option in pairs if "@params." in key]
    return {knob: (group.lstrip("/"), option) for group, knob, option in taken}


def _changed(at: str, value: Any, usual: Any) -> dict[str, Any]:
    """The leaves of a knob that differ from its file's.

    >>> _changed("flow", {"depth": 8, "width": 64}, {"depth": 8, "width": 128})
    {'flow.width': 64}
    """
    if not (isinstance(value, dict) and isinstance(usual, dict)):
        return {} if value == usual else {at: value}
    return {
        k: v
        for key in value
        for k, v in _changed(f"{at}.{key}", value[key], usual.get(key)).items()
    }
