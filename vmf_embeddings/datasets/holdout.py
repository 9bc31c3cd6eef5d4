"""Holding out images (closed set) or whole classes (open set) where data bring no split."""

import numpy as np

from vmf_embeddings.datasets.base import SPLIT_SEED


def hold_out_images(labels: np.ndarray, share: float, seed: int | None = SPLIT_SEED) -> np.ndarray:
    """Choose images so that every class gives its share, and every class keeps at least one.

    Shares are rounded so that the total is right even where classes have three images: a class
    gives the floor or the ceiling of its share. A class with one image gives none.

    Args:
        labels: integers [N].
        share: fraction to hold out, in (0, 1).
        seed: of the draw; None draws nothing and takes images at equal distances in each class.

    Returns:
        bool [N], True where held out.

    Raises:
        ValueError: if nothing can be held out.
    """
    shuffled = np.arange if seed is None else np.random.default_rng(seed).permutation
    held_out = np.zeros(len(labels), dtype=bool)
    order = shuffled(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    members = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    owed = 0.5
    for i in shuffled(len(members)):
        if len(members[i]) < 2:
            continue
        owed += share * len(members[i])
        most = min(len(members[i]) - 1, int(np.ceil(share * len(members[i]))))
        given = min(int(owed), most)
        places = np.arange(given) + 0.0
        if seed is None:
            places = (places + 0.5) * len(members[i]) / max(given, 1)
        held_out[members[i][places.astype(int)]] = True
        owed -= given
    if not held_out.any():
        raise ValueError(
            f"cannot hold out {share:.0%} of {len(labels)} images in {len(members)} classes and "
            "leave one of each class: give a larger share, or more images per class"
        )
    return held_out


def hold_out_classes(labels: np.ndarray, share: float, seed: int | None = SPLIT_SEED) -> np.ndarray:
    """Choose whole classes, at least one, and leave at least one.

    Args:
        labels: integers [N].
        share: fraction of the classes to hold out, in (0, 1).
        seed: of the draw; None draws nothing and takes the last classes.

    Returns:
        bool [N], True where held out.

    Raises:
        ValueError: if there are fewer than two classes.
    """
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(f"cannot hold out whole classes: there is only {len(classes)}")
    count = min(max(1, round(share * len(classes))), len(classes) - 1)
    if seed is None:
        return np.isin(labels, classes[-count:])
    chosen = np.random.default_rng(seed).choice(classes, count, replace=False)
    return np.isin(labels, chosen)


def check_share(name: str, share: float) -> None:
    """Refuse shares outside (0, 1), naming the key."""
    if not 0.0 < share < 1.0:
        raise ValueError(f"dataset.params.{name} must lie in (0, 1), got {share}")
