"""Refuses plain values that a class does not take, by the annotations of its constructor."""

import inspect
import math
import types
import typing
from collections.abc import Callable, Collection
from numbers import Integral, Real
from typing import Any

PACKAGE = "vmf_embeddings"
LEAST, LARGEST = 1e-12, 1e12  # float32 can square a number in between and divide by its square
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def check_arguments(target: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Refuses numbers, texts, lists, None and NaN where a constructor is annotated otherwise.

    Numbers annotated as float are also refused beyond 1e12, and below 1e-12 unless they are 0, as
    losses in float32 would become NaN. Arguments of other types pass, and all arguments of classes
    of other packages.

    Args:
        target: a class, or a function.
        arguments: by keyword.

    Raises:
        TypeError: naming the argument, what is expected and what came.
        ValueError: the same, of a number that is too large or too small.

    Example:
        >>> from vmf_embeddings.catalogue import option
        >>> check_arguments(option, {"group": "loss", "name": None})
        Traceback (most recent call last):
        TypeError: name: expected a text, got None
    """
    if not str(getattr(target, "__module__", "")).partition(".")[0] == PACKAGE:
        return
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    for name, value in arguments.items():
        if not _fits(value, hints.get(name, Any)):
            raise TypeError(f"{name}: expected {_words(hints[name])}, got {value!r}")
        if _is_extreme(value, hints.get(name, Any)):
            raise ValueError(
                f"{name}: expected 0 or a number of {LEAST:g} to {LARGEST:g} in size, got {value!r}"
            )


def _is_extreme(value: Any, hint: Any) -> bool:
    """Whether a number annotated as float, or one in a list of them, is out of range."""
    if isinstance(value, list | tuple):
        inside = [typing.get_args(each)[:1] or (Any,) for each in _members(hint) if _is_list(each)]
        return any(_is_extreme(each, one) for each in value for (one,) in inside)
    if float not in _members(hint) or not isinstance(value, Real):
        return False
    return value != 0 and not LEAST <= abs(value) <= LARGEST


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type; True where either is not plain."""
    hints = _members(hint)
    if not isinstance(value, Real | str | list | tuple | types.NoneType):
        return True
    return any(_fits_one(value, each) for each in hints)


def _fits_one(value: Any, hint: Any) -> bool:
    if hint is float:
        real = isinstance(value, Real) and not isinstance(value, bool)
        return real and not math.isnan(value)
    if hint is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if hint in (bool, str, types.NoneType):
        return isinstance(value, hint)
    if _is_list(hint):
        inside = typing.get_args(hint)[:1] or (Any,)
        return isinstance(value, list | tuple) and all(_fits(each, inside[0]) for each in value)
    if typing.get_origin(hint) is typing.Literal:
        return isinstance(value, str)
    return True


def _members(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the type itself."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _is_list(hint: Any) -> bool:
    origin = typing.get_origin(hint) or hint
    return inspect.isclass(origin) and issubclass(origin, Collection) and origin is not str


def _words(hint: Any) -> str:
    """Types in words.

    >>> _words(float | None), _words(list[int])
    ('a number or null', 'a list, each a whole number')
    """
    return " or ".join(_word(each) for each in _members(hint))


def _word(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(str, typing.get_args(hint)))
    if not _is_list(hint):
        return WORDS.get(hint, "null")
    inside = typing.get_args(hint)[:1]
    return f"a list, each {_words(inside[0])}" if inside and inside[0] in WORDS else "a list"
