"""Checks that lists and dicts of a checkpoint hold plain values only, and not too many."""

import types

from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.stand_ins import Ordered, expect
from vmf_embeddings.untrusted.text import printable

MOST_VALUES = 1_000_000  # in lists and dicts, counted as often as they are reached
MOST_LEVELS = 100
_PLAIN = (str, int, float, bool, types.NoneType)


def check_tree(value: object, leaves: tuple[type, ...]) -> None:
    """Refuses values of other than plain types, or too many of them.

    A list that holds the same list twice, which holds the same list twice, and so on, takes little
    memory but exponential time to walk through. Here each object is visited once.

    Args:
        value: a plain value, or lists, tuples and dicts of such.
        leaves: types of further values that may be in them.

    Raises:
        Refused: saying what it holds.
    """
    _size(value, leaves, {}, 0)


def _size(
    value: object, leaves: tuple[type, ...], known: dict[int, tuple[int, int]], depth: int
) -> tuple[int, int]:
    """(Number of values, levels of nesting) of a value; a shared object counts each time."""
    if depth > MOST_LEVELS:
        raise Refused(f"its lists and dicts are nested more than {MOST_LEVELS} deep")
    if id(value) in known:
        return known[id(value)]
    if type(value) in _PLAIN or isinstance(value, leaves):
        return 1, 0
    parts = [_size(part, leaves, known, depth + 1) for part in _parts(value)]
    size = 1 + sum(n for n, _ in parts), 1 + max((levels for _, levels in parts), default=0)
    if size[0] > MOST_VALUES or size[1] > MOST_LEVELS:
        raise Refused(
            f"its lists and dicts hold more than {MOST_VALUES} values, or are nested more "
            f"than {MOST_LEVELS} deep"
        )
    known[id(value)] = size
    return size


def _parts(value: object) -> list[object]:
    """What a list, tuple or dict holds."""
    if type(value) in (list, tuple):
        return list(value)
    if type(value) in (dict, Ordered):
        expect(all(type(key) in (str, int) for key in value), "a dict")
        return [*value.values(), *([] if type(value) is dict else [value.metadata])]
    raise Refused(f"it holds a {printable(type(value).__name__)} as a value")
