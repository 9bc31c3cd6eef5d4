"""Class labels of any type as class numbers that arrays can be indexed and counted by."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from vmf_embeddings.labels import read_labels
from vmf_embeddings.untrusted.records import MOST_CLASSES


def integer_labels(
    labels: ArrayLike, *, place: Callable[[int], str] = "labels: row {} (counted from 0)".format
) -> tuple[np.ndarray, list[str] | None]:
    """Labels of any type -> class numbers, and the names they stand for.

    Whole numbers between -2^24 and 2^24 stay as they are, also where they are written as floats
    (2.0) or as texts ("2"). Anything else is numbered in sorted order.

    Args:
        labels: [N] whole numbers, texts, bytes (UTF-8), or booleans.
        place: says for a message where the label of a row, counted from 0, stands.

    Returns:
        int64 [N]; and the names of classes 0, 1, …, or None where numbers stayed as they are.

    Raises:
        ValueError: they are not one value per row, or one is missing, a fraction, or neither
            number nor text; names the row.

    Example:
        >>> integer_labels(["dog", "cat", "dog"])
        (array([1, 0, 1]), ['cat', 'dog'])
    """
    values = np.asarray(labels)
    if values.dtype.kind == "f":
        labels = values.astype(np.float64)  # the bounds of 64-bit integers are beyond float16
    numbers, names = read_labels(labels, place=place)
    if names is None and not (-MOST_CLASSES < numbers.min() and numbers.max() < MOST_CLASSES):
        values, numbers = np.unique(numbers, return_inverse=True)
        names = [str(value) for value in values.tolist()]
    return numbers.astype(np.int64, copy=False), names
