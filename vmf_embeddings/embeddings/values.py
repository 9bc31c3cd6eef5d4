"""Arrays from files as values: finite rows, flags that are booleans, labels that name classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

_BLOCK = 2**22  # values that are looked at together


def refuse_not_finite(array: np.ndarray, name: str, *, allow_minus_infinity: bool = False) -> None:
    """Refuses NaN and infinity in an array [N, ...] of floats.

    Args:
        array: of any shape.
        name: of the array, for the message.
        allow_minus_infinity: for logits [N, ..., C], where it stands for a class that is
            impossible; not every class of a row can be.

    Raises:
        ValueError: naming the first such row, counted from 0, and how many there are.
    """
    if array.dtype.kind != "f" or not array.size:
        return
    rows = array.reshape(len(array), -1)
    step = max(1, _BLOCK // rows.shape[1])
    bad: list[int] = []
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        wrong = np.isnan(part) | (part == np.inf)
        below = part == -np.inf
        if not allow_minus_infinity:
            wrong |= below
        elif below.any():
            impossible = below.reshape(len(part), -1, array.shape[-1]).all(2).any(1)
            wrong[impossible] = True
        bad += (start + np.flatnonzero(wrong.any(1))).tolist()
    if bad:
        found = rows[bad[0]]
        what = "NaN" if np.isnan(found).any() else "infinity"
        raise ValueError(
            f"{name} has {what} in row {bad[0]} (counted from 0), {len(bad):,} of "
            f"{len(rows):,} rows in all: leave these rows out, or write finite numbers"
        )


def as_float32(values: np.ndarray, name: str) -> np.ndarray:
    """Numbers of any type as float32 in C order.

    Raises:
        ValueError: a finite number is beyond float32.
    """
    if values.dtype == np.float32:
        rows = np.ascontiguousarray(values, dtype=np.float32)
        return rows if rows.flags.writeable else rows.copy()  # torch shares what it is given
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(values, dtype=np.float32)
    if values.dtype.kind == "f" and (np.isinf(rows) & np.isfinite(values)).any():
        raise ValueError(f"{name} has numbers beyond float32 (3.4e38): scale them")
    return rows


def as_flags(values: ArrayLike, name: str) -> np.ndarray:
    """Booleans, or numbers that are 0 or 1, as bool.

    Raises:
        ValueError: naming the first row, counted from 0, that is neither.
    """
    flags = np.asarray(values)
    if flags.dtype == np.bool_:
        return np.ascontiguousarray(flags)
    if flags.dtype.kind in "iuf":
        wrong = (flags != 0) & (flags != 1)
        if not wrong.any():
            return flags != 0
        row = int(np.flatnonzero(wrong.reshape(-1))[0])
    else:
        row = 0
    came = repr(flags.reshape(-1)[row].item()) if flags.size else str(flags.dtype)
    raise ValueError(
        f"{name} must be True or False, or 0 or 1, per row; row {row} (counted from 0) is "
        f"{came[:60]}"
    )


def rows_of_classes(labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Numbers [N] of labels that are given by name, each the position of its name in `names`.

    Raises:
        ValueError: naming the first label that is not among the names.
    """
    number = {str(name): place for place, name in enumerate(names)}
    unknown = [row for row, label in enumerate(labels.tolist()) if str(label) not in number]
    if unknown:
        raise ValueError(
            f"ids: row {unknown[0]} (counted from 0) is {str(labels[unknown[0]])[:60]!r}, which "
            f"is not in class_names of meta: {', '.join(list(number)[:8])}"
            f"{', …' if len(number) > 8 else ''}"
        )
    return np.array([number[str(label)] for label in labels.tolist()], dtype=np.int64)


def refuse_missing_names(ids: np.ndarray, names: Sequence[str] | None) -> None:
    """Raises ValueError if `names`, of classes 0, 1, …, lacks a class of `ids` [N]."""
    if names is not None and len(ids) and len(names) <= int(ids.max()):
        raise ValueError(
            f"class_names of meta has {len(names)} names, and ids go up to {int(ids.max())}: name "
            "every class, in the order of their numbers, or leave class_names out"
        )
