"""Texts in configuration files that YAML reads as something else, as in `name: 1.10`.

A value of a key that is declared as text becomes the text that stands in the file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from vmf_embeddings.cli.as_typed import as_typed
from vmf_embeddings.cli.declared import Declarations, Declared
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable
from vmf_embeddings.untrusted.yaml_text import read_yaml

_GLOBAL, _GROUP = "_global_", "_group_"


@dataclass(frozen=True)
class Scalar:
    """A value in a file that is no text, or a list with such values.

    Attributes:
        key: dotted key in the composed configuration.
        value: as YAML reads it.
        text: as it stands in the file; for lists, of every element.
        source: the file.
    """

    key: str
    value: Any
    text: Any
    source: Path


class Scalars(list[Scalar]):
    """Values of the options that were loaded from a folder; copies of the folder share them."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Scalars":
        return self


def scalars(path: Path, config_path: str, package: str | None) -> list[Scalar]:
    """The values of an option's file that YAML reads as something else than text.

    Args:
        path: of the file.
        config_path: group and name of the option, as `dataset/mine`.
        package: where its content belongs, as its `# @package` line states; None = the group.
    """
    group = ".".join(config_path.split("/")[:-1])
    prefix = (package or _GROUP).replace(_GLOBAL, "").replace(_GROUP, group)
    leaves = _leaves(read_yaml(path), read_yaml(path, as_text=True), prefix.strip("."))
    return [Scalar(key, value, text, path) for key, value, text in leaves]


def _leaves(value: Any, text: Any, key: str) -> list[tuple[str, Any, Any]]:
    if isinstance(value, dict) and isinstance(text, dict):
        pairs = zip(value.items(), text.values(), strict=True)
        inside = [_leaves(v, t, f"{key}.{k}" if key else str(k)) for (k, v), t in pairs]
        return [leaf for leaves in inside for leaf in leaves]
    if isinstance(value, list):
        plain = not any(isinstance(one, list | dict) for one in value)
        return [(key, value, text)] if plain and not _all_text(value) else []
    return [] if isinstance(value, str | dict) else [(key, value, text)]


def _all_text(values: list[Any]) -> bool:
    return all(isinstance(one, str) for one in values)


def restore(
    cfg: DictConfig, found: list[Scalar], package: Callable[[DictConfig], DictConfig]
) -> None:
    """Gives keys of text the text that stands in the file which set them.

    Args:
        cfg: composed configuration; changed in place.
        found: values of all files that were loaded for it.
        package: makes the configuration of this package's files alone for `cfg`.

    Raises:
        Refused: a key of text that may not be null is null, or two files have the same value of it
            in other words.
    """
    declarations = Declarations(lambda: cfg, lambda: package(cfg))
    composed = [one for one in found if _is_value(cfg, one)]
    for one in composed:
        if one.key.split(".")[0] in ("hydra", "defaults"):
            continue
        declared = declarations.of(one.key)
        if declared is None or not declared.text or declared.is_list != isinstance(one.value, list):
            continue
        other = next((o for o in composed if o.key == one.key and o.text != one.text), one)
        if other is not one:
            raise Refused(
                f"{printable(one.key)} is {printable(one.text)} in {printable(one.source)} and "
                f"{printable(other.text)} in {printable(other.source)}: put these texts in quotes"
            )
        texts = _as_text(one, declared)
        if texts != one.value:
            OmegaConf.update(cfg, one.key, texts)


def _is_value(cfg: DictConfig, one: Scalar) -> bool:
    """Whether the composed value is that of the file: nothing else was typed or loaded later."""
    parent, _, name = one.key.rpartition(".")
    node = OmegaConf.select(cfg, parent, default=None) if parent else cfg
    if not isinstance(node, DictConfig) or name not in node:
        return False
    child = node._get_node(name)
    now = OmegaConf.to_container(child) if OmegaConf.is_list(child) else child._value()
    return type(now) is type(one.value) and (now == one.value or now != now)


def _as_text(one: Scalar, declared: Declared) -> Any:
    if isinstance(one.value, list):
        pairs = zip(one.value, one.text, strict=True)
        return [t if type(v) not in declared.kinds else v for v, t in pairs]
    if type(one.value) in declared.kinds:
        return one.value
    if one.value is None:
        raise Refused(
            f"{printable(one.source)}: {printable(one.key)} is null, expected a text; for a text "
            f'that reads so, put it in quotes: {printable(one.key.rpartition(".")[2])}: "null"'
        )
    return one.text


def quote_sweep(cfg: DictConfig, package: Callable[[DictConfig], DictConfig]) -> None:
    """Quotes values of `hydra.sweeper.params` as if they had been typed behind `-m`."""
    params = OmegaConf.select(cfg, "hydra.sweeper.params", default=None)
    if not params:
        return
    declarations = Declarations(lambda: cfg, lambda: package(cfg))
    for key, value in params.items():
        if isinstance(value, str):
            given = ["-m", f"{key}={value}"]
            quoted = as_typed(given, declarations, lambda group: group in cfg.hydra.runtime.choices)
            with open_dict(params):
                params[key] = quoted[1].partition("=")[2]
