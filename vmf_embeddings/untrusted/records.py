"""Validation of the metadata in embedding files and `metrics.json`."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vmf_embeddings.untrusted.text import printable

LONGEST_NAME = 200  # characters of a data set's, method's or option's name
LONGEST_CLASS_NAME = 1000
MOST_CLASSES = 2**24  # also above every class number; beyond any data set, and still quick to count
LONGEST_OBJECTIVE = 100_000  # characters, as JSON
LARGEST_SCORE = 1e100
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Kind:
    """What a value must be.

    Args:
        words: description for error messages.
        fits: whether a value is valid; not called for null, which is always valid.
        example: of a valid value, as JSON, for error messages.
    """

    words: str
    fits: Callable[[Any], bool]
    example: str = ""


def check_record(record: Mapping[str, Any], kinds: Mapping[str, Kind], source: str) -> None:
    """Checks the known keys of a record; other keys are ignored.

    Args:
        record: parsed JSON object.
        kinds: key -> what its value must be, where the key is there and not null.
        source: where it comes from, for the message.

    Raises:
        ValueError: naming the key, what was expected and what came.
    """
    for key, kind in kinds.items():
        value = record.get(key)
        if value is not None and not kind.fits(value):
            wanted = kind.words + (f", such as {kind.example}" if kind.example else "")
            raise ValueError(
                f"{source}: {key} must be {wanted}, or null where unknown, got {_shown(value)}. "
                "Put this key right, or write the file again"
            )


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        kind = "list" if isinstance(value, list) else "JSON object"
        if not value:
            return f"an empty {kind}"
        return f"a {kind} of {len(value)}: {_written(value, 60)}"
    return _written(value[:60] if isinstance(value, str) else value, 70)


def _written(value: Any, most: int) -> str:
    try:
        return printable(repr(value)[:most])
    except ValueError:  # Python writes no whole numbers of more than 4,300 digits
        return "a number of thousands of digits"


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_NAME and printable(value) == value


def _is_whole(value: Any, least: int = -(2**63), most: int = 2**63 - 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_score(value: Any) -> bool:
    """Whether it is a number; NaN and infinity, which Python's JSON reads, are numbers too."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(value, float) and not math.isfinite(value):
        return True
    return is_number and abs(value) <= LARGEST_SCORE


def _is_class_name(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, str) and len(value) <= LONGEST_CLASS_NAME)


def _is_objective(value: Any) -> bool:
    if not isinstance(value, dict) or not all(map(_is_name, value)):
        return False
    return len(json.dumps(value)) <= LONGEST_OBJECTIVE


def _is_geometry(value: Any) -> bool:
    if not isinstance(value, dict) or len(value) > 10 or not _is_name(value.get("name", "")):
        return False
    constants = [constant for key, constant in value.items() if key != "name"]
    return all(map(is_score, constants)) and all(map(math.isfinite, constants))


def _is_list(of: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        return isinstance(value, list) and 0 < len(value) <= MOST_CLASSES and all(map(of, value))

    return fits


def _is_scores(value: Any) -> bool:
    if not isinstance(value, dict) or len(value) > 1000 or not all(map(_is_name, value)):
        return False
    return all(score is None or is_score(score) for score in value.values())


def _is_shots(value: Any) -> bool:
    """Scores of groups of classes, beside objects that describe the groups."""
    if not isinstance(value, dict):
        return False
    return _is_scores({k: v for k, v in value.items() if not isinstance(v, dict)})


_NAME = Kind(f"a text of at most {LONGEST_NAME} characters without control characters", _is_name)
_WHOLE = Kind("a whole number", _is_whole)
_SCORES = Kind("a JSON object of names and numbers", _is_scores)
_SHARED = {
    "dataset": _NAME,
    "split": Kind(f"one of {', '.join(SPLITS)}", lambda value: value in SPLITS),
    "split_hash": _NAME,
    "train_identity": _NAME,
    "open_set": Kind("true or false", lambda value: isinstance(value, bool)),
    "method": _NAME,
    "objective": Kind(
        f"a JSON object of options, at most {LONGEST_OBJECTIVE} characters", _is_objective
    ),
    "geometry": Kind(
        "a JSON object of a name and finite numbers", _is_geometry, '{"name": "cosine"}'
    ),
    "seed": _WHOLE,
    "epoch": _WHOLE,
    "selected_on": Kind(
        f"one of {', '.join(SPLITS)}, last", lambda value: value in (*SPLITS, "last")
    ),
}
META = {
    "schema": _WHOLE,
    **_SHARED,
    "selected_by": _NAME,
    "source_hash": _NAME,
    "weights": _NAME,
    "prior_removed": Kind("true or false", lambda value: isinstance(value, bool)),
    "train_class_counts": Kind(
        "a list of whole numbers, 0 or more, one per class",
        _is_list(lambda n: _is_whole(n, 0, 2**53)),
        "[5, 3]",
    ),
    "class_names": Kind(
        f"a list of texts of at most {LONGEST_CLASS_NAME} characters, one per class",
        _is_list(_is_class_name),
        '["cat", "dog"]',
    ),
}
"""Keys of an embedding file's `meta`."""
ENTRY = {
    **_SHARED,
    "split": _NAME,  # of a file that was named directly: what the end of its name is
    **dict.fromkeys(
        ("retrieval", "sampled_retrieval", "classification", "as_output", "normalised"), _SCORES
    ),
    "shots": Kind("a JSON object of names and numbers", _is_shots),
}
"""Keys of one file's entry in `metrics.json`."""
