"""Which keys of the configuration are declared as text, so that their values are taken as typed.

A key is declared by the constructor or the settings that take it, and else by its default.
"""

import contextlib
import dataclasses
import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

from omegaconf import Container, DictConfig, ListConfig, Node

from vmf_embeddings.cli.assembly.targets import ALLOWED, checked_target
from vmf_embeddings.untrusted.refused import Refused

# null by default, and read by code without a constructor's annotations
TEXT_OR_NULL = ("data", "weights", "run", "logger.group", "hydra.output_subdir")
LISTS_OF_TEXT = ("mode.compare", "mode.evaluate_on", "logger.trackers", "stages.second")
# keys of the text kind that name a file or a folder: `~` is expanded in them
PATHS = re.compile(
    r"data|weights|run|mode\.compare|.+\.(dataset_path|\w+_(list|file|dir|path)|weights|teacher)"
)
_KINDS = {
    "str": str,
    "Path": str,
    "Literal": str,
    "bool": bool,
    "int": int,
    "float": float,
    "None": type(None),
    "dict": dict,
    "Mapping": dict,
}
_LISTS = {"list", "Sequence", "tuple"}


@dataclasses.dataclass(frozen=True)
class Declared:
    """What a key takes.

    Attributes:
        kinds: types of its values, or of the elements of a list.
        is_list: whether it takes a list.
    """

    kinds: frozenset[type]
    is_list: bool = False

    @property
    def text(self) -> bool:
        """Whether it takes text."""
        return str in self.kinds


class Declarations:
    """The declared types of the keys of one command.

    Args:
        composed: makes the configuration of the command without its values.
        package: makes that of this package's files alone, whose values have the declared types.
    """

    def __init__(
        self, composed: Callable[[], DictConfig], package: Callable[[], DictConfig]
    ) -> None:
        self._composed, self._package = functools.cache(composed), functools.cache(package)

    def of(self, key: str) -> Declared | None:
        """What a dotted key takes; None where nothing is known, or where it is a node."""
        parent, _, name = key.rpartition(".")
        by_default = _by_default(_node(self._package(), parent), name)
        if by_default is not None and not by_default.text and not by_default.is_list:
            return by_default  # a number: the constructor need not be imported
        node = _node(self._composed(), parent)
        return _in_signature(key, node, name) or by_default or _by_default(node, name)


def _in_signature(key: str, node: object, name: str) -> Declared | None:
    """The annotation of an argument of the node's `_target_`, or of a field of the settings."""
    group = key.split(".")[0]
    if key in TEXT_OR_NULL:
        return Declared(frozenset({str, type(None)}))
    if key in LISTS_OF_TEXT:
        return Declared(frozenset({str}), is_list=True)
    if isinstance(node, DictConfig) and "_target_" in node and group in ALLOWED:
        return _annotated(_arguments(group, node.get("_target_")).get(name))
    if group == "trainer":
        from vmf_embeddings.training.execution import ExecutionSettings

        return _annotated(ExecutionSettings.__annotations__.get(name))
    return None


def _arguments(group: str, target: object) -> dict[str, Any]:
    """Argument -> annotation of the constructor, those that it hands on to its bases included."""
    try:
        thing = checked_target(group, target)
    except (Refused, ImportError):
        return {}  # refused by name when it is built
    makers = [c.__init__ for c in reversed(thing.__mro__)] if isinstance(thing, type) else [thing]
    found: dict[str, Any] = {}
    for maker in makers:
        with contextlib.suppress(TypeError, ValueError):
            parameters = inspect.signature(maker).parameters.values()
            found |= {p.name: p.annotation for p in parameters if p.annotation is not p.empty}
    return found


def _annotated(annotation: object) -> Declared | None:
    """An annotation in the words of `_KINDS`, read from its text: names of types may be strings."""
    if annotation is None:
        return None
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    words = set(re.findall(r"[A-Za-z_]+", text))
    is_list = bool(words & _LISTS) and not words & {"dict", "Mapping"}
    kinds = frozenset(_KINDS[word] for word in words if word in _KINDS)
    return Declared(kinds, is_list) if kinds else None


def _by_default(node: object, name: str) -> Declared | None:
    child = _node(node, name) if isinstance(node, DictConfig) else None
    if isinstance(child, ListConfig) and not child._is_none() and not child._is_interpolation():
        kinds = {type(one._value()) for one in child._content if not isinstance(one, Container)}
        return Declared(frozenset(kinds), is_list=True) if kinds else None
    if not isinstance(child, Node) or isinstance(child, Container) or child._value() is None:
        return None
    return Declared(frozenset({type(child._value())}))  # of an interpolation: str


def _node(tree: DictConfig, key: str) -> object:
    """The node at a dotted key, without resolving anything; None where there is none."""
    found: object = tree
    for part in key.split(".") if key else []:
        if not isinstance(found, DictConfig) or found._is_none() or part not in found:
            return None
        found = found._get_node(part)
    return found
