"""Validation and test splits for data without one: hold out images, or whole classes."""

import numpy as np

from vmf_embeddings.datasets.base import SPLIT_SEED
from vmf_embeddings.datasets.rows import Rows


def hold_out_images(
    labels: np.ndarray, fraction: float, seed: int | None = SPLIT_SEED
) -> np.ndarray:
    """Holds out a fraction of the images of every class; every class keeps at least one image.

    Of a class with n images, floor(fraction n) or ceil(fraction n) are held out, such that the
    total is right even if classes have only a few images. A class with one image keeps it.

    Args:
        labels: integers [N].
        fraction: of the images, in (0, 1).
        seed: of the random choice; None = no random choice, but images at equal distances in each
            class.

    Returns:
        bool [N], True where held out.

    Raises:
        ValueError: nothing can be held out.
    """
    shuffled = np.arange if seed is None else np.random.default_rng(seed).permutation
    held_out = np.zeros(len(labels), dtype=bool)
    order = shuffled(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    members = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    quota = 0.5  # images still to be held out, carried over from class to class
    for i in shuffled(len(members)):
        if len(members[i]) < 2:
            continue
        quota += fraction * len(members[i])
        most = min(len(members[i]) - 1, int(np.ceil(fraction * len(members[i]))))
        count = min(int(quota), most)
        positions = np.arange(count) + 0.0
        if seed is None:
            positions = (positions + 0.5) * len(members[i]) / max(count, 1)
        held_out[members[i][positions.astype(int)]] = True
        quota -= count
    if not held_out.any() and len(members) == len(labels) > 1:
        raise ValueError(
            f"cannot hold out images of every class: each of the {len(members)} classes has a "
            "single one. With dataset.params.open_set=true whole classes are held out"
        )
    if not held_out.any():
        raise ValueError(
            f"cannot hold out {fraction:.0%} of {len(labels)} images in {len(members)} classes and "
            "leave one of each class: give a larger fraction (dataset.params.test_share or "
            "valid_share), or more images per class"
        )
    return held_out


def hold_out_classes(
    labels: np.ndarray, fraction: float, seed: int | None = SPLIT_SEED
) -> np.ndarray:
    """Holds out all images of some classes, at least one class and never all.

    Args:
        labels: integers [N].
        fraction: of the classes, in (0, 1).
        seed: of the random choice; None = no random choice, but the last classes.

    Returns:
        bool [N], True where held out.

    Raises:
        ValueError: there are fewer than two classes.
    """
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(f"cannot hold out whole classes: there is only {len(classes)}")
    count = min(max(1, round(fraction * len(classes))), len(classes) - 1)
    if seed is None:
        return np.isin(labels, classes[-count:])
    chosen = np.random.default_rng(seed).choice(classes, count, replace=False)
    return np.isin(labels, chosen)


def check_fraction(name: str, fraction: float) -> None:
    """Refuses fractions outside (0, 1), naming the key in `dataset.params`."""
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"dataset.params.{name} must lie in (0, 1), got {fraction}")


def hold_out(
    rows: Rows, fraction: float, *, by_class: bool, seed: int | None = SPLIT_SEED
) -> np.ndarray:
    """Holds out whole classes, or images of every class; all rows of an image together.

    Args:
        rows: the rows of a split.
        fraction: of the classes or of the images, in (0, 1).
        by_class: see `hold_out_classes`, else see `hold_out_images`.
        seed: see there.

    Returns:
        bool [N], True where held out.

    Raises:
        ValueError: nothing can be held out.
    """
    if by_class:
        return hold_out_classes(rows.labels, fraction, seed)
    if rows.all_differ:
        return hold_out_images(rows.labels, fraction, seed)
    first = np.sort(np.unique(rows.images, return_index=True)[1])
    held_out = hold_out_images(rows.labels[first], fraction, seed)
    return np.isin(rows.images, rows.images[first[held_out]])
