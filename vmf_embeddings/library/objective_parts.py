"""From the name of an objective and keyword arguments to a method, by the files under `conf/`."""

import difflib
import importlib
import inspect
import re
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

from vmf_embeddings import catalogue
from vmf_embeddings.archs.base import Arch
from vmf_embeddings.argument_types import check_arguments
from vmf_embeddings.criteria.base import Criterion
from vmf_embeddings.heads.base import Head
from vmf_embeddings.losses.base import Loss
from vmf_embeddings.methods.base import Method

GROUPS = ("method", "criterion", "head", "loss")
BASES = {"method": Method, "criterion": Criterion, "head": Head, "loss": Loss}
# the method that trains an option of the other groups
METHOD_OF = {"criterion": "dml", "head": "classifier", "loss": "classifier"}
# group that a method reads -> its option, unless one is named
USUAL = {
    **{"head": "linear", "loss": "ce", "criterion": "proxy_anchor", "miner": "none"},
    "feature_scaling": "none",
}
CLASS_OPTIONS = ("learn_temp", "init_temp", "kappa_confidence")
# constructor arguments that come from the other parts and not from an option's file
FROM_OUTSIDE = ("self", "arch", *catalogue.WRAPPED, "n_classes", "dim", *USUAL)
_KEY_PREFIX = re.compile(
    r"\b(?:arch|method|head|loss|criterion|miner|feature_scaling)\.params\.(?=\w)"
)

Node = dict[str, Any]  # {"name": …, "params": {"_target_": a class or its dotted name, …}}


@dataclass
class Composition:
    """The options that an objective is put together from.

    Args:
        nodes: group -> option, of the method and of the groups that it reads.
        class_options: fields of `ClassSpec` that were given.
    """

    nodes: dict[str, Node]
    class_options: dict[str, Any] = field(default_factory=dict)

    @property
    def method_class(self) -> type[Method]:
        """The class whose flags count: that of the wrapped method where there is one."""
        return class_of(self.innermost)

    @property
    def innermost(self) -> Node:
        """The node of the method, or of the one that it wraps."""
        return _innermost(self.nodes["method"])

    @property
    def needs_n_classes(self) -> bool:
        """Whether the method has anything per class, such as class weights."""
        if "criterion" not in self.nodes:
            return True
        return class_of(self.nodes["criterion"]).build is not Criterion.build

    def build(self, arch: Arch) -> Method:
        """Builds the method on a backbone."""
        method = self._method(self.nodes["method"], arch)
        method.feature_scaling = construct(self.nodes["feature_scaling"]["params"])
        return method

    def _method(self, node: Node, arch: Arch) -> Method:
        runtime: dict[str, Any] = {"arch": arch}
        for key in catalogue.wrapped_keys(node["params"]):
            runtime[key] = partial(self._method, node["params"][key])
            return construct(node["params"], **runtime)
        for group in _groups_read(node):
            params = self.nodes[group]["params"]
            runtime[group] = partial(construct, params) if group == "head" else construct(params)
        return construct(node["params"], **runtime)


def compose(name: str | type[nn.Module], options: dict[str, Any]) -> Composition:
    """Finds the options that a name stands for, and sets the keyword arguments in them.

    Args:
        name: of an option, also as `criterion/arcface`, or a subclass of one of `BASES`.
        options: parameters of that option or of the method that trains it, options of the groups
            that this method reads, and `CLASS_OPTIONS`.

    Raises:
        ValueError: a name or keyword is unknown.
    """
    group, own = _find(name)
    method = own if group == "method" else catalogue.option("method", METHOD_OF[group])
    changed = catalogue.overrides("method", method["name"]) if _is_listed(method) else {}
    inside = {k: options[k] for k in catalogue.wrapped_keys(method["params"]) if k in options}
    named = {g: n for key, value in inside.items() for g, n in _wrap(method, key, value).items()}
    reads = (*_groups_read(_innermost(method)), "feature_scaling")
    nodes = {g: catalogue.option(g, changed.get(g, USUAL[g])) for g in reads}
    nodes |= {**named, "method": method, group: own}
    if any(
        getattr(class_of(each), "requires_cosine_head", False) for each in (own, *named.values())
    ):
        nodes["head"] = catalogue.option("head", "cosine")
    # only methods without head and criterion have a temperature tau (`reads` is then the scaling)
    composition = Composition(nodes, {} if len(reads) > 1 else {"learn_temp": True})
    for key, value in options.items():
        if key not in inside:
            _put(composition, key, value, own, name)
    return composition


def _wrap(method: Node, key: str, value: Any) -> dict[str, Node]:
    """Sets the method that another one wraps, by its name, as a mapping or as a class.

    Returns:
        Group -> option, where the name is that of a criterion, head or loss, which its usual method
        trains.
    """
    if not isinstance(value, str) or value in catalogue.names("method"):
        method["params"][key] = _chosen("method", value)
        return {}
    group, node = _find(value)
    method["params"][key] = catalogue.option("method", METHOD_OF[group])
    return {group: node}


def construct(node: Any, **runtime: Any) -> Any:
    """Builds the object of a mapping with `_target_`, after those nested in it.

    Args:
        node: plain values from this package's own files or from the caller; never from a file that
            somebody else wrote, for any `_target_` is called.
        **runtime: arguments that replace the keys of their names.
    """
    if isinstance(node, dict):
        values = {k: construct(v) for k, v in node.items() if k != "_target_" and k not in runtime}
        if "_target_" not in node:
            return values
        target = _resolve(node["_target_"])
        check_arguments(target, values)
        return target(**values, **runtime)
    return [construct(value) for value in node] if isinstance(node, list) else node


def _find(name: str | type[nn.Module]) -> tuple[str, Node]:
    """Group and option that a name or a class stands for."""
    if isinstance(name, type):
        for group, base in BASES.items():
            if issubclass(name, base):
                return group, {"name": name.__name__, "params": {"_target_": name}}
        raise ValueError(
            f"objective: expected a name, or a subclass of Method, Criterion, Head or Loss, got "
            f"{name.__name__}"
        )
    wanted, _, option = name.rpartition("/")
    for group in GROUPS:
        if wanted in ("", group) and option in catalogue.names(group):
            return group, catalogue.option(group, option)
    known = [each for group in GROUPS for each in catalogue.names(group)]
    raise ValueError(f"there is no objective {name!r}{did_you_mean(option, known)}")


def did_you_mean(word: str, known: list[str]) -> str:
    """`; did you mean …?` where a known word is close, else the list of all known words."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"


def in_keywords(message: str) -> str:
    """An error message about keys of the command line, in the keywords of `objective`.

    >>> in_keywords("criterion.params.beta must be > 0, got -1.")
    'beta must be > 0, got -1.'
    """
    return _KEY_PREFIX.sub("", message)


def _put(composition: Composition, key: str, value: Any, own: Node, name: Any) -> None:
    """Sets one keyword argument: a class option, the option of a group, or a parameter."""
    nodes, method = composition.nodes, composition.nodes["method"]
    if key in CLASS_OPTIONS:
        composition.class_options[key] = value
    elif key in nodes and key != "method" and nodes[key] is not own:
        nodes[key] = _chosen(key, value)
    elif key in _parameters(own):
        own["params"][key] = value
    elif key in _parameters(method):
        method["params"][key] = value
    elif key in _parameters(composition.innermost):
        composition.innermost["params"][key] = value
    else:
        inner = composition.innermost
        known = {*_parameters(own), *_parameters(method), *_parameters(inner)}
        known = known | {*CLASS_OPTIONS, *nodes} - {"method"}
        raise ValueError(f"objective {name!r} has no option {key!r}{did_you_mean(key, [*known])}")


def _chosen(group: str, value: Any) -> Node:
    """The node of `"tvmf"`, of `{"name": "tvmf", "kappa": 4.0}` or of a class."""
    if isinstance(value, str):
        return catalogue.option(group, value)
    if isinstance(value, type):
        return {"name": value.__name__, "params": {"_target_": value}}
    if not isinstance(value, dict) or "name" not in value:
        raise ValueError(
            f'{group}: expected the name of an option, or {{"name": …, parameter: value}}, got '
            f"{value!r}; options: {', '.join(catalogue.names(group))}"
        )
    node = catalogue.option(group, value["name"])
    for key in value.keys() - {"name"}:
        if key not in _parameters(node):
            known = _parameters(node)
            raise ValueError(f"{group}={node['name']} has no {key!r}{did_you_mean(key, known)}")
        node["params"][key] = value[key]
    return node


def _parameters(node: Node) -> list[str]:
    """Names that may be given by keyword: the constructor arguments of the option's class."""
    arguments = inspect.signature(class_of(node)).parameters
    return [name for name in arguments if name not in FROM_OUTSIDE or name in node["params"]]


def _groups_read(node: Node) -> tuple[str, ...]:
    """The groups whose objects a method's constructor takes."""
    return class_of(node).parts(node["params"])


def _innermost(node: Node) -> Node:
    """A method, or the one that it wraps."""
    for key in catalogue.wrapped_keys(node["params"]):
        return _innermost(node["params"][key])
    return node


def _is_listed(node: Node) -> bool:
    return node["name"] in catalogue.names("method")


def class_of(node: Node) -> Any:
    """The class, or function, that a node builds."""
    return _resolve(node["params"]["_target_"])


def _resolve(target: Any) -> Any:
    """A class or function by its dotted name; itself where it is one."""
    if not isinstance(target, str):
        return target
    module, _, attribute = target.rpartition(".")
    return getattr(importlib.import_module(module), attribute)
