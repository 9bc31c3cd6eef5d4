"""From a configuration node to an object: resolved once, checked, and then built as it was checked.

Hydra's `instantiate` resolves what it is given once more and looks every name up again, so that
what it builds may differ from what was checked. Here nothing is left to resolve.
"""

import functools
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vmf_embeddings.cli.assembly.refused import Refused
from vmf_embeddings.cli.assembly.targets import checked_target
from vmf_embeddings.untrusted.plain import refuse_interpolations

# what a constructor raises for values it cannot work with, or for a library that is missing
OF_VALUES = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError),
    *(RuntimeError, TypeError, ValueError),
)
KNOWN = {"_target_", "_partial_"}


def instantiate(group: str, node: DictConfig, *, _partial_: bool = False, **runtime: Any) -> Any:
    """Builds the object of a config group.

    Args:
        group: config group, a key of `targets.ALLOWED`.
        node: `{name, params: {_target_, …}}`, or flat `{name, _target_, …}`. Nodes inside it that
            have a `_target_` are built first; `_partial_: true` beside one leaves the call open.
        _partial_: return what makes the object from the arguments that are still missing.
        **runtime: arguments that no configuration can hold; they stand in for keys of their name.

    Returns:
        What the target returns.

    Raises:
        Refused: a target is not allowed, a text still holds `${`, or the target refuses a value.
    """
    params = node.get("params", node)
    if not isinstance(params, DictConfig):
        raise Refused(f"{group}.params: expected keys and their values, got {params!r}")
    if "target" in node or "_target_" not in params:
        raise Refused(
            f"{group}: no _target_ in its params. Configurations of 2021 said `target: …` beside "
            "params; today it is `params: {_target_: vmf_embeddings.…, …}`."
        )
    given = {*runtime, *(("name",) if params is node else ())}
    values = {k: v for k, v in _plain(group, params).items() if k not in given}
    if _partial_:
        values["_partial_"] = True
    return _built(_checked(group, values), runtime)


def _plain(group: str, params: DictConfig) -> dict[str, Any]:
    """The values of a node, resolved in the whole configuration it stands in, for the last time."""
    values = OmegaConf.to_container(params, resolve=True, throw_on_missing=True)
    refuse_interpolations(values, group)
    return values


def _checked(group: str, value: Any) -> Any:
    """A copy in which every `_target_` is the class or function itself.

    All are checked before any is called.
    """
    if isinstance(value, list):
        return [_checked(group, inside) for inside in value]
    if not isinstance(value, dict):
        return value
    unknown = [k for k in value if str(k).startswith("_") and str(k).endswith("_")]
    unknown = [k for k in unknown if k not in KNOWN or "_target_" not in value]
    if unknown:
        raise Refused(f"{group}: {unknown[0]!r} is not read; beside _target_ there is _partial_")
    if not isinstance(value.get("_partial_", False), bool):
        raise Refused(f"{group}: _partial_ expects true or false, got {value['_partial_']!r}")
    copy = {key: _checked(group, inside) for key, inside in value.items()}
    if "_target_" in value:
        copy["_target_"] = checked_target(group, value["_target_"])
    return copy


def _built(value: Any, runtime: dict[str, Any]) -> Any:
    """The object that a checked node stands for; a list or dict of them where it is one."""
    if isinstance(value, list):
        return [_built(inside, {}) for inside in value]
    if not isinstance(value, dict):
        return value
    arguments = {k: _built(v, {}) for k, v in value.items() if k not in KNOWN} | runtime
    if "_target_" not in value:
        return arguments
    return _called(value["_target_"], value.get("_partial_", False), arguments)


def _called(target: Callable[..., Any], partial: bool, arguments: dict[str, Any]) -> Any:
    if partial:
        return functools.partial(target, **arguments)
    try:
        return target(**arguments)
    except Refused:
        raise
    except OF_VALUES as error:
        raise Refused(str(error)) from error
