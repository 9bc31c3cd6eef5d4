"""The list files `train.txt`, `val.txt`, `test.txt`, byte for byte those of 2021."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vmf_embeddings.datasets.prepare.source import Lists, UserMistake
from vmf_embeddings.untrusted.files import replacing
from vmf_embeddings.untrusted.text import has_control

LIST_SEED = 1234


def validation_classes(n_train_classes: int, n_valid_classes: int) -> set[int]:
    """The validation classes of Scott et al. 2021, numbered from 0.

    They are drawn by a new instance of NumPy's legacy generator, whose sequence will not change.

    Args:
        n_train_classes: classes 0..n-1 to choose from.
        n_valid_classes: how many, without replacement.
    """
    legacy = np.random.RandomState(LIST_SEED)
    chosen = legacy.choice(np.arange(n_train_classes), size=n_valid_classes, replace=False)
    return set(chosen.tolist())


def by_class(images: Iterable[tuple[str, int]], n_train_classes: int, valid: set[int]) -> Lists:
    """Images by split: val if the class is in `valid`, train if < n_train_classes, else test."""
    lists: Lists = {"train": [], "val": [], "test": []}
    for path, label in images:
        name = "val" if label in valid else "train" if label < n_train_classes else "test"
        lists[name].append((path, label))
    return lists


def list_bytes(images: Iterable[tuple[str, int]]) -> bytes:
    """The content of a list file: no header, no newline at the end."""
    return "\n".join(f"{path},{label}" for path, label in images).encode()


def write_lists(folder: Path, lists: Lists) -> None:
    """Writes all list files, each to a temporary name first.

    Raises:
        UserMistake: the folder contains different lists, because data sets must not share a folder;
            or a path contains control characters, which could add lines to a list.
    """
    for images in lists.values():
        refuse_control(path for path, _ in images)
    contents = {folder / f"{name}.txt": list_bytes(images) for name, images in lists.items()}
    for path, content in contents.items():
        if os.path.lexists(path) and not _has_content(path, content):
            raise UserMistake(
                f"{path} exists with other content. Choose another PATH (each data set needs "
                "its own), or remove that file"
            )
    for path, content in contents.items():
        with replacing(path) as temporary:
            temporary.write_bytes(content)


def refuse_control(paths: Iterable[str]) -> None:
    """Refuses paths with control characters.

    Raises:
        UserMistake: naming the first such path.
    """
    for path in paths:
        if has_control(path):
            raise UserMistake(
                f"the path {path!r} contains control characters, which are not allowed in a list"
            )


def _has_content(path: Path, content: bytes) -> bool:
    """Whether a regular file has exactly this content."""
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content


def missing_images(root: Path, lists: Lists) -> list[Path]:
    """Images of the lists that do not exist below `root`."""
    paths = (root / path for images in lists.values() for path, _ in images)
    return [path for path in paths if not path.is_file()]
