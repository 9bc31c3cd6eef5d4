"""Checks that an untrusted configuration holds plain values, without interpolations ${…}."""

import re
from collections.abc import Iterator
from typing import Any

from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

MOST_VALUES = 20_000  # a run's configuration has some two hundred
MOST_LEVELS = 50
PLAIN = (str, int, float, bool, type(None))
# `${mode.learning_rate}`, `${.params.width}`: another key of the same configuration, by its name.
# The functions only join texts or look a key up; those left out read the environment (oc.env),
# or make keys and values from texts (oc.create, oc.decode)
_REFERENCE = re.compile(
    r"\$\{(?:\.*[A-Za-z_][A-Za-z0-9_.]*\}|(?:oc\.select|run_folder|sweep_folder|runs_root|sweeps_root):)"
)


def refuse_interpolations(value: Any, source: str) -> None:
    r"""Checks that values are plain, and that no text contains an interpolation ${…}.

    An escaped `\${…}` is refused like any other: reading it once takes the escape away.

    Args:
        value: dicts, lists, texts, numbers, true, false, None.
        source: where it comes from, for messages.

    Raises:
        Refused: naming the key and the text.

    >>> refuse_interpolations({"a": [1, "b"]}, "x.yaml")
    """
    for place, leaf in _leaves(value, source):
        if _has_interpolation(leaf):
            raise _refusal(source, place, leaf, "expected a value, without ${…}")


def refuse_control_characters(value: Any, source: str) -> None:
    r"""Checks that no text has characters that would change what messages look like.

    Args:
        value: dicts, lists, texts, numbers, true, false, None.
        source: where it comes from, for messages.

    Raises:
        Refused: naming the key and the text, with its control characters as escapes.

    >>> refuse_control_characters({"model": "resnet18"}, "x.yaml")
    """
    for place, leaf in _leaves(value, source):
        if isinstance(leaf, str) and printable(leaf) != leaf:
            raise _refusal(source, place, leaf, "expected a text without control characters")


def refuse_functions(value: Any, source: str) -> None:
    r"""As `refuse_interpolations`, but lets texts refer to other keys by name.

    Raises:
        Refused: naming the key and the text.

    >>> refuse_functions({"lr": "${mode.learning_rate}"}, "x.yaml")
    """
    for place, leaf in _leaves(value, source):
        if _has_interpolation(leaf) and (
            "\\" in leaf or len(_REFERENCE.findall(leaf)) != leaf.count("${")
        ):
            raise _refusal(
                source, place, leaf, "of ${…}, a file may hold ${another.key} and nothing else"
            )


def _has_interpolation(leaf: Any) -> bool:
    r"""Whether a text has an interpolation, now or once escapes such as `$\{` are resolved."""
    return isinstance(leaf, str) and "${" in leaf.replace("\\", "")


def _leaves(value: Any, source: str) -> Iterator[tuple[str, Any]]:
    """All keys and values with their paths, at any depth."""
    waiting, seen = [("", value, 0)], 0
    while waiting:
        place, one, level = waiting.pop()
        seen += 1
        if seen > MOST_VALUES or level > MOST_LEVELS:
            raise Refused(
                f"{source}: more than {MOST_VALUES} values, or nested more than {MOST_LEVELS} deep"
            )
        if isinstance(one, dict):
            for key, inside in one.items():
                yield place, key
                if not isinstance(key, PLAIN):
                    raise _refusal(source, place, key, "expected a text for a key")
                waiting.append((f"{place}.{key}" if place else str(key), inside, level + 1))
        elif isinstance(one, list):
            waiting += [(f"{place}[{i}]", inside, level + 1) for i, inside in enumerate(one)]
        elif isinstance(one, PLAIN):
            yield place, one
        else:
            raise _refusal(source, place, one, "expected a plain value")


def _refusal(source: str, place: str, value: Any, expected: str) -> Refused:
    shown = printable(repr(value))[:120]
    return Refused(f"{printable(source)}: {printable(place)[:120]} is {shown}; {expected}")
