"""JSON from untrusted files: limited in size and depth, with errors that name the source."""

import json
from pathlib import Path
from typing import Any

from vmf_embeddings.untrusted.files import read_text
from vmf_embeddings.untrusted.refused import Refused

MOST_LEVELS = 100  # of nesting; code that walks the values recursively is then safe


def parse_json(text: str, source: str) -> Any:
    """The value that a JSON text stands for.

    Args:
        text: JSON.
        source: where it comes from, for messages.

    Raises:
        Refused: it is not JSON, or nested more than `MOST_LEVELS` deep.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise Refused(f"{source} is not JSON ({error})") from error
    except (RecursionError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise Refused(f"{source} is not usable JSON: nested too deeply, or {error}") from error
    if _is_deep(value):
        raise Refused(f"{source} is not usable JSON: nested more than {MOST_LEVELS} deep")
    return value


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


def parse_json_object(text: str, source: str) -> dict[str, Any]:
    """As `parse_json`, for a text that must hold an object.

    Raises:
        Refused: it is not JSON, or not an object.
    """
    value = parse_json(text, source)
    if not isinstance(value, dict):
        raise Refused(f"{source} must hold a JSON object, got {type(value).__name__}")
    return value
