"""The published folders of CUB200, Cars196 and Stanford Online Products, without list files."""

import os
from pathlib import Path

import numpy as np

from vmf_embeddings.datasets.prepare.sop import read_table
from vmf_embeddings.datasets.prepare.source import UserMistake
from vmf_embeddings.datasets.rows import Rows, refuse_escapes
from vmf_embeddings.untrusted.image_formats import is_picture, readable_suffixes


def first_and_second_half(root: Path, names: list[str]) -> dict[str, Rows]:
    """The first half of the classes as train, the second half as test.

    Args:
        root: folder that contains `images/<class>/<image>`.
        names: the class folders in the order of their numbers.

    Returns:
        Rows per split; images of a class are sorted by name, upper case before lower case.

    Raises:
        ValueError: a class has no images.
    """
    half = len(names) // 2
    files: dict[str, list[str]] = {"train": [], "test": []}
    labels: dict[str, list[int]] = {"train": [], "test": []}
    for label, name in enumerate(names):
        split = "train" if label < half else "test"
        images_of_class = _image_names(root / "images" / name)
        if not images_of_class:
            raise ValueError(
                f"no images in {root / 'images' / name}; expected files that end in "
                f"{' '.join(readable_suffixes())}"
            )
        files[split] += [f"images/{name}/{image}" for image in images_of_class]
        labels[split] += [label] * len(images_of_class)
    return {
        split: Rows(files[split], np.array(labels[split], dtype=np.int64), root) for split in files
    }


def class_folders(root: Path) -> list[str]:
    """Names of the folders in `root/images`, upper case first; empty if it does not exist."""
    if not (root / "images").is_dir():
        return []
    with os.scandir(root / "images") as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _image_names(folder: Path) -> list[str]:
    """Sorted image names, without hidden files and macOS's metadata files (`._…`)."""
    return sorted(name for name in os.listdir(folder) if is_picture(name) and "._" not in name)


def ebay_tables(tables: Path, images: Path) -> dict[str, Rows]:
    """Train and test of Stanford Online Products from `Ebay_train.txt` and `Ebay_test.txt`.

    Args:
        tables: folder of the tables.
        images: folder that the paths in the tables start from.

    Raises:
        FileNotFoundError: a table is missing.
        ValueError: a line is malformed.
    """
    parts = {}
    for split in ("train", "test"):
        path = tables / f"Ebay_{split}.txt"
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist; it lies beside Ebay_train.txt")
        try:
            lines = read_table(path)
        except UserMistake as error:
            raise ValueError(str(error)) from error
        files = [file for file, _ in lines]
        refuse_escapes(files, str(path))
        parts[split] = Rows(files, np.array([i for _, i in lines], dtype=np.int64), images)
    return parts
