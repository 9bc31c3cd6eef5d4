"""JSON from untrusted files: limited in size and depth, with errors that name the source."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from vmf_embeddings.untrusted.files import read_text
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

MOST_LEVELS = 100  # of nesting; code that walks the values recursively is then safe


def parse_json(text: str, source: str, *, unique: bool = False) -> Any:
    """The value that a JSON text stands for.

    Args:
        text: JSON.
        source: where it comes from, for messages.
        unique: refuse an object that has a name twice, of which the last counts otherwise.

    Raises:
        Refused: it is not JSON, or nested more than `MOST_LEVELS` deep.
    """
    try:
        value = json.loads(text, object_pairs_hook=_with_names_once if unique else None)
    except Refused as error:
        raise Refused(f"{source} {error}") from error
    except json.JSONDecodeError as error:
        raise Refused(f"{source} is not JSON ({error})") from error
    except (RecursionError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise Refused(f"{source} is not usable JSON: nested too deeply, or {error}") from error
    if _is_deep(value):
        raise Refused(f"{source} is not usable JSON: nested more than {MOST_LEVELS} deep")
    return value


def _with_names_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, n in Counter(name for name, _ in pairs).items() if n > 1)
        raise Refused(f"has {printable(twice)[:60]!r} twice")
    return found


def _is_deep(value: Any) -> bool:
    """Whether lists and objects are nested more than `MOST_LEVELS` deep."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MOST_LEVELS):
        inside = [one.values() if isinstance(one, dict) else one for one in level]
        level = [v for values in inside for v in values if isinstance(v, dict | list)]
        if not level:
            return False
    return True


def read_json(path: str | Path) -> Any:
    """The content of a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: it is no regular file, too large, or not JSON.
    """
    return parse_json(read_text(path), str(path))


def parse_json_object(text: str, source: str, *, unique: bool = False) -> dict[str, Any]:
    """As `parse_json`, for a text that must hold an object.

    Raises:
        Refused: it is not JSON, or not an object.
    """
    value = parse_json(text, source, unique=unique)
    if not isinstance(value, dict):
        raise Refused(f"{source} must hold a JSON object, got {type(value).__name__}")
    return value
