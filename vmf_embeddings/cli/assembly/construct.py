"""Builds the object of a configuration node: resolves it once, checks it, builds what was checked.

Hydra's `instantiate` resolves a node again and imports every name again, so that it may build
something else than what was checked. Here nothing is resolved or imported after the check.
"""

import functools
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vmf_embeddings.argument_types import check_arguments
from vmf_embeddings.cli.assembly.refused import Refused
from vmf_embeddings.cli.assembly.targets import checked_option, checked_target
from vmf_embeddings.untrusted.plain import refuse_interpolations
from vmf_embeddings.untrusted.text import printable

# what constructors raise for unusable values, or if a library is missing
VALUE_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError),
    *(RuntimeError, TypeError, ValueError),
)
# those of them whose messages come from Python or torch, and name no key
UNWORDED = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError)
SPECIAL_KEYS = {"_target_", "_partial_"}


def instantiate(group: str, node: DictConfig, *, _partial_: bool = False, **runtime: Any) -> Any:
    """Builds the object of a config group.

    Args:
        group: config group, a key of `targets.ALLOWED`.
        node: `{name, params: {_target_, …}}`, or flat `{name, _target_, …}`. Nodes inside it that
            have a `_target_` are built first; with `_partial_: true` beside it, as a
            `functools.partial`.
        _partial_: return a `functools.partial` of the target instead of calling it.
        **runtime: arguments that a configuration cannot hold; they replace keys of the same name.

    Returns:
        The return value of the target.

    Raises:
        Refused: a target is not allowed, a text contains `${` after resolution, or the target
            raises for a value.
    """
    params = node.get("params", node)
    if not isinstance(params, DictConfig):
        raise Refused(f"{group}.params: expected keys and their values, got {params!r}")
    if "target" in node or "_target_" not in params:
        raise Refused(
            f"{group}: no _target_ in its params. Configurations of 2021 had `target: …` beside "
            "params; today it is `params: {_target_: vmf_embeddings.…, …}`."
        )
    given = {*runtime, *(("name",) if params is node else ())}
    values = {k: v for k, v in _plain(group, params).items() if k not in given}
    if "_partial_" in values:
        raise Refused(f"{group}: _partial_ stands beside the _target_ of an argument alone")
    if _partial_:
        values["_partial_"] = True
    checked_option(group, values["_target_"])
    try:
        return _built(_checked(group, values), runtime)
    except Refused as error:
        if isinstance(error.__cause__, UNWORDED):
            raise Refused(f"{group}.params={_shown(values)} cannot be used: {error}") from error
        raise


def _shown(values: dict[str, Any]) -> str:
    """Keys and values, shortened."""
    words = [f"{key}: {str(value)[:40]}" for key, value in values.items() if key != "_target_"]
    return "{" + printable(", ".join(words)[:200]) + "}"


def _plain(group: str, params: DictConfig) -> dict[str, Any]:
    """The values of a node, with interpolations resolved in the configuration that contains it."""
    values = OmegaConf.to_container(params, resolve=True, throw_on_missing=True)
    refuse_interpolations(values, group)
    return values


def _checked(group: str, value: Any) -> Any:
    """A copy in which every `_target_` is the class or function itself; nothing is called.

    Raises:
        Refused: a target is not allowed, or a key with underscores is unknown.
    """
    if isinstance(value, list):
        return [_checked(group, inside) for inside in value]
    if not isinstance(value, dict):
        return value
    unknown = [k for k in value if str(k).startswith("_") and str(k).endswith("_")]
    unknown = [k for k in unknown if k not in SPECIAL_KEYS or "_target_" not in value]
    if unknown:
        raise Refused(f"{group}: {unknown[0]!r} is not read; beside _target_ there is _partial_")
    if not isinstance(value.get("_partial_", False), bool):
        raise Refused(f"{group}: _partial_ expects true or false, got {value['_partial_']!r}")
    copy = {key: _checked(group, inside) for key, inside in value.items()}
    if "_target_" in value:
        copy["_target_"] = checked_target(group, value["_target_"])
    return copy


def _built(value: Any, runtime: dict[str, Any]) -> Any:
    """Builds a checked value: nodes with `_target_` become objects, also inside lists and dicts."""
    if isinstance(value, list):
        return [_built(inside, {}) for inside in value]
    if not isinstance(value, dict):
        return value
    arguments = {k: _built(v, {}) for k, v in value.items() if k not in SPECIAL_KEYS} | runtime
    if "_target_" not in value:
        return arguments
    return _called(value["_target_"], value.get("_partial_", False), arguments)


def _called(target: Callable[..., Any], partial: bool, arguments: dict[str, Any]) -> Any:
    if partial:
        return functools.partial(target, **arguments)
    try:
        check_arguments(target, arguments)
        return target(**arguments)
    except Refused:
        raise
    except VALUE_ERRORS as error:
        raise Refused(str(error)) from error
