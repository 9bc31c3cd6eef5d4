"""The fields of an embedding file: keys in an `.npz`, types and shapes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vmf_embeddings.embeddings.labels import integer_labels
from vmf_embeddings.embeddings.values import as_flags, as_float32, rows_of_classes
from vmf_embeddings.untrusted.arrays import BYTES, NUMBERS, TEXTS

SCHEMA = 1
KEY_OF_FIELD = {
    "embeddings": "embeddings",
    "ids": "ids",
    "class_weights": "weights",
    "logits": "logits",
    "original_ids": "original_ids",
    "examples": "examples",
    "pictures": "pictures",
    "paths": "paths",
    "is_query": "is_query",
    "is_gallery": "is_gallery",
    "camera": "camera",
    "sequence": "sequence",
    "confidence": "confidence",
    "predicted": "predicted",
    "probability": "probability",
    "source": "source",
    "corruption": "corruption",
    "level": "level",
}
FLOATS = ("embeddings", "class_weights", "logits", "confidence", "probability", "level")
CORRUPTED = ("source", "corruption", "level")  # all of them, or none
FLAGS = ("is_query", "is_gallery")
NUMBERED = ("original_ids", "camera", "sequence", "source")
_DTYPE_OF_FIELD = {"pictures": np.uint8, "paths": np.str_, "corruption": np.str_}
_ANY = f"{NUMBERS}{TEXTS}{BYTES}"
KINDS_OF_KEY = {
    **dict.fromkeys(
        ("embeddings", "weights", "logits", "examples", "temp", "pictures", "original_ids"), NUMBERS
    ),
    **dict.fromkeys(("confidence", "probability", "source", "level"), NUMBERS),
    "predicted": f"{NUMBERS}{TEXTS}",
    **dict.fromkeys(("camera", "sequence"), _ANY),
    **dict.fromkeys(("ids", *FLAGS), _ANY),  # of a wrong type: refused with the row
    **dict.fromkeys(("paths", "meta", "corruption"), f"{TEXTS}{BYTES}"),
}
_ONE_ROW_PER_ITEM = tuple(name for name in KEY_OF_FIELD if name != "class_weights")


def as_array(name: str, value: Any) -> np.ndarray:
    """The value of a field as an array of its type.

    Raises:
        ValueError: it is of another type.
    """
    given = np.asarray(value)
    if given.dtype == object:
        raise ValueError(f"{name} must be an array of numbers or text, got Python objects")
    if name in FLAGS:
        return as_flags(given, name)
    if name in NUMBERED:
        return integer_labels(given, place=f"{name}: row {{}}".format)[0]
    if name in FLOATS:
        if given.dtype.kind not in NUMBERS:
            raise ValueError(f"{name} must be numbers, got {given.dtype}")
        return as_float32(given, name)
    if name in ("paths", "corruption") and given.dtype.kind == "S":
        given = np.char.decode(given, "utf-8", "surrogateescape")
    return np.asarray(given, dtype=_DTYPE_OF_FIELD.get(name))


def numbered(
    ids: Any, meta: dict[str, Any] | None, *, has_logits: bool
) -> tuple[np.ndarray, dict[str, Any] | None]:
    """Class numbers [N] of labels of any type, and the meta data with the names of the classes."""
    given = np.asarray(ids)
    if given.shape == (0,):
        return np.zeros(0, dtype=np.int64), meta
    numbers, names = integer_labels(given, place="ids: row {} (counted from 0)".format)
    if names is None:
        return numbers, meta
    known = (meta or {}).get("class_names")
    if known is not None:
        return rows_of_classes(np.array(names)[numbers], known), meta
    if has_logits:
        raise ValueError(
            f"ids are names ({', '.join(names[:3])}, …), and nothing says which column of logits "
            "is whose: write class numbers, or class_names in the order of the columns into meta"
        )
    return numbers, {"schema": SCHEMA, **(meta or {}), "class_names": names}


def check_shapes(fields: Mapping[str, Any]) -> None:
    """Raise ValueError where two arrays of a file contradict each other; `fields` by name."""
    rows = fields["embeddings"]
    n_dims = {
        "embeddings": (2,),
        "ids": (1,),
        "class_weights": (2,),
        "logits": (2, 3),
        "pictures": (4,),
        **dict.fromkeys(("camera", "sequence", "confidence", "predicted", "probability"), (1,)),
        **dict.fromkeys(CORRUPTED, (1,)),
    }
    for name, allowed in n_dims.items():
        array = fields[name]
        if array is not None and array.ndim not in allowed:
            wanted = " or ".join(str(n) for n in allowed)
            raise ValueError(f"{name} must have {wanted} axes, got shape {list(array.shape)}")
    for name in _ONE_ROW_PER_ITEM:
        array = fields[name]
        if array is not None and (array.ndim == 0 or len(array) != len(rows)):
            raise ValueError(
                f"embeddings {list(rows.shape)} and {name} {list(array.shape)} differ in rows"
            )
    missing = [name for name in CORRUPTED if fields[name] is None]
    if len(missing) not in (0, len(CORRUPTED)):
        raise ValueError(f"{', '.join(CORRUPTED)} belong together; there is no {missing[0]}")
    weights = fields["class_weights"]
    if weights is not None and weights.shape[1] != rows.shape[1]:
        raise ValueError(
            f"embeddings {list(rows.shape)} and class weights {list(weights.shape)} "
            "differ in columns"
        )
