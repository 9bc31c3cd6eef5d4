"""The classes of a split, whose positions are the labels of its items."""

from collections.abc import Callable

import numpy as np

from vmf_embeddings.datasets.wording import counted


def classes_of_split(
    labels: np.ndarray,
    train_labels: np.ndarray | None,
    source: str,
    items: str,
    name_of: Callable[[int], str],
) -> np.ndarray:
    """Original class numbers [C] of a split, sorted.

    Args:
        labels: original class number of each item [N].
        train_labels: those of train, whose classes all splits of a closed set have; None = the
            split has classes of its own: it is train, or one of an open set.
        source: where they are from, for the message.
        items: what the items are called, in the singular, such as "test image".
        name_of: name of an original class number.

    Raises:
        ValueError: the split of a closed set has classes that train lacks.
    """
    if train_labels is None:
        return distinct(labels)
    classes = distinct(train_labels)
    unknown = labels[~np.isin(labels, classes)]
    if len(unknown):
        raise ValueError(
            f"{source}: {counted(len(unknown), items)} of classes that train lacks, such as "
            f"{name_of(int(unknown[0]))}: not a closed set. For retrieval over new classes use "
            "dataset.params.open_set=true; otherwise remove them"
        )
    return classes


def distinct(labels: np.ndarray) -> np.ndarray:
    """The different class numbers [C] of labels [N], sorted; `np.unique` without sorting.

    >>> distinct(np.array([5, 2, 5]))
    array([2, 5])
    """
    if not len(labels) or labels.min() < 0 or labels.max() > 4 * len(labels) + 1000:
        return np.unique(labels)
    return np.flatnonzero(np.bincount(labels)).astype(labels.dtype, copy=False)
