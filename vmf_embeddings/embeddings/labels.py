"""Class labels of any type as class numbers."""

import numpy as np
from numpy.typing import ArrayLike

from vmf_embeddings.untrusted.records import MOST_CLASSES


def integer_labels(labels: ArrayLike) -> tuple[np.ndarray, list[str] | None]:
    """Labels of any type -> class numbers, and the names they stand for.

    Whole numbers from 0 to 2^24 stay as they are. Anything else is numbered in sorted order.

    Args:
        labels: [N] whole numbers, texts, or other values that can be sorted.

    Returns:
        int64 [N]; and the names of classes 0, 1, …, or None where numbers stayed as they are.

    Raises:
        ValueError: they are not one value per row, or hold NaN or Python objects that are not text.

    Example:
        >>> integer_labels(["dog", "cat", "dog"])
        (array([1, 0, 1]), ['cat', 'dog'])
    """
    values = np.asarray(labels)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"labels: expected one per row [N], got shape {list(values.shape)}")
    if values.dtype == object:
        values = _texts(values)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    if values.dtype.kind not in "biufU":
        raise ValueError(f"labels: expected numbers or text, got {values.dtype}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("labels: expected one class per row, got NaN or infinity")
    if values.dtype.kind in "iu" and 0 <= values.min() and values.max() < MOST_CLASSES:
        return values.astype(np.int64), None
    names, numbers = np.unique(values, return_inverse=True)
    return numbers.astype(np.int64), [str(name) for name in names.tolist()]


def _texts(values: np.ndarray) -> np.ndarray:
    if not all(isinstance(value, str) for value in values):
        raise ValueError("labels: expected numbers or text, got Python objects of other types")
    return values.astype(np.str_)
