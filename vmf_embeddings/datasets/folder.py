"""User images in one folder per class, with or without train/valid/test folders above them."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from vmf_embeddings.datasets.csv_table import SPLIT_WORDS, shares_no_class
from vmf_embeddings.datasets.holdout import check_fraction, hold_out_classes, hold_out_images
from vmf_embeddings.datasets.image_files import ImageFileDataset
from vmf_embeddings.datasets.rows import Rows

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


class Folder(ImageFileDataset):
    """`PATH/<class>/<image>`, or `PATH/{train,valid,test}/<class>/<image>`.

    Args:
        dataset_path: the folder, relative to the current directory.
        open_set: True for retrieval over new classes, False for classification. Without
            train/valid/test subfolders it also decides how splits are made: by whole classes (True)
            or by images of every class (False). None: True if the test (or valid) subfolder shares
            no class with train, otherwise False.
        valid_share: fraction of train that becomes valid where there is no such subfolder.
        test_share: fraction of everything that becomes test where there are no subfolders.
        image_size: see `ImageFileDataset`.
        augment: name of the training recipe.
        mean: per channel.
        std: per channel.
        margin_warmup_epochs: see `Dataset`.
    """

    name = "folder"

    def __init__(
        self,
        dataset_path: str | Path,
        *,
        open_set: bool | None,
        valid_share: float,
        test_share: float,
        image_size: int,
        augment: str,
        mean: Sequence[float],
        std: Sequence[float],
        margin_warmup_epochs: int,
    ) -> None:
        super().__init__(
            dataset_path,
            image_size=image_size,
            augment=augment,
            mean=mean,
            std=std,
            margin_warmup_epochs=margin_warmup_epochs,
        )
        check_fraction("valid_share", valid_share)
        check_fraction("test_share", test_share)
        self.valid_share = valid_share
        self.test_share = test_share
        self._open_set = open_set

    @cached_property
    def open_set(self) -> bool:
        """Whether test classes do not occur in train."""
        return shares_no_class(self.folder_rows) if self._open_set is None else self._open_set

    @cached_property
    def class_files(self) -> dict[str, dict[str, list[str]]]:
        """Split (or "" without subfolders) -> class -> sorted paths below `dataset_path`."""
        root = self.dataset_path
        if not root.is_dir():
            raise FileNotFoundError(
                f"{root} is not a folder; expected {root}/<class>/<image> or "
                f"{root}/train/<class>/<image>. Say where the images are with "
                "dataset=folder dataset.params.dataset_path=PATH"
            )
        children = _subfolders(root)
        splits = [name for name in children if name.lower() in SPLIT_WORDS]
        if "train" in children and len(splits) > 1:
            found = {SPLIT_WORDS[name.lower()]: files_by_class(root, name) for name in splits}
        else:
            found = {"": files_by_class(root, "")}
        if not any(found.values()):
            raise ValueError(
                f"no images in class folders below {root}: expected {root}/<class>/<image> "
                f"ending in {' '.join(SUFFIXES)}"
            )
        return {split: classes for split, classes in found.items() if classes}

    @cached_property
    def folder_names(self) -> list[str]:
        """Sorted names of all class folders; the position is the original label."""
        return sorted({name for classes in self.class_files.values() for name in classes})

    def _class_name(self, label: int) -> str:
        return self.folder_names[label]

    @cached_property
    def folder_rows(self) -> dict[str, Rows]:
        """Rows per split subfolder; all rows under "" where there are no such subfolders."""
        number = {name: i for i, name in enumerate(self.folder_names)}
        rows = {}
        for split, classes in self.class_files.items():
            files = [file for name in sorted(classes) for file in classes[name]]
            labels = [number[name] for name in sorted(classes) for _ in classes[name]]
            rows[split] = Rows(files, np.array(labels, dtype=np.int64), self.dataset_path)
        return rows

    def _read_rows(self) -> dict[str, Rows]:
        rows = dict(self.folder_rows)
        hold_out = hold_out_classes if self.open_set else hold_out_images
        if "" in rows:
            all_rows = rows.pop("")
            held_out = hold_out(all_rows.labels, self.test_share)
            rows |= {"train": all_rows.chosen(~held_out), "test": all_rows.chosen(held_out)}
        if "train" in rows and "valid" not in rows:
            held_out = hold_out(rows["train"].labels, self.valid_share)
            rows["valid"] = rows["train"].chosen(held_out)
            rows["train"] = rows["train"].chosen(~held_out)
        return rows


def _subfolders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def files_by_class(root: Path, split: str) -> dict[str, list[str]]:
    """Class -> sorted image paths below `root`; the class folder may have subfolders."""
    classes = {}
    for name in _subfolders(root / split):
        files = []
        for folder, _, names in os.walk(root / split / name):
            relative = os.path.relpath(folder, root)
            wanted = [n for n in names if n.lower().endswith(SUFFIXES) and not n.startswith(".")]
            files += [os.path.join(relative, n) for n in wanted]
        if files:
            classes[name] = sorted(files)
    return classes
