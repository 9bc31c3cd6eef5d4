"""User images in one folder per class, with or without train/valid/test folders above them."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from vmf_embeddings.datasets.class_spelling import refuse_other_spellings
from vmf_embeddings.datasets.csv_table import shares_no_class
from vmf_embeddings.datasets.folder_layout import LAYOUTS, FolderLayout, read_layout
from vmf_embeddings.datasets.holdout import check_fraction, hold_out
from vmf_embeddings.datasets.image_files import ImageFileDataset
from vmf_embeddings.datasets.image_reading import Background
from vmf_embeddings.datasets.rows import Rows


class Folder(ImageFileDataset):
    """`PATH/<class>/<image>`, or `PATH/{train,valid,test}/<class>/<image>`.

    Split folders may have other usual names, in any case, see `embeddings.names.SPLIT_WORDS`. With
    a train folder alone, validation images are held out, and there is no test.

    Args:
        dataset_path: the folder, relative to the current directory.
        layout: "auto" finds split folders by their names; "classes" takes every folder as a class.
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
        normalisation: see `ImageFileDataset`.
        interpolation: see `ImageFileDataset`.
        crop_fraction: see `ImageFileDataset`.
        background: see `ImageFileDataset`.
        max_pixels: see `ImageFileDataset`.
        on_error: see `ImageFileDataset`.
        check: see `ImageFileDataset`.
        decoder: see `ImageFileDataset`.
        margin_warmup_epochs: see `Dataset`.
    """

    name = "folder"

    def __init__(
        self,
        dataset_path: str | Path,
        *,
        layout: str = "auto",
        open_set: bool | None,
        valid_share: float,
        test_share: float,
        image_size: int,
        augment: str,
        mean: Sequence[float],
        std: Sequence[float],
        normalisation: str = "data",
        interpolation: str = "bilinear",
        crop_fraction: float | None = None,
        background: Background = "white",
        max_pixels: int | None = None,
        on_error: str = "refuse",
        check: str = "cheap",
        decoder: str = "pillow",
        margin_warmup_epochs: int,
    ) -> None:
        super().__init__(
            dataset_path,
            image_size=image_size,
            augment=augment,
            mean=mean,
            std=std,
            normalisation=normalisation,
            interpolation=interpolation,
            crop_fraction=crop_fraction,
            background=background,
            max_pixels=max_pixels,
            on_error=on_error,
            check=check,
            decoder=decoder,
            margin_warmup_epochs=margin_warmup_epochs,
        )
        check_fraction("valid_share", valid_share)
        check_fraction("test_share", test_share)
        if layout not in LAYOUTS:
            raise ValueError(
                f"dataset.params.layout is one of {', '.join(LAYOUTS)}, got {layout!r}"
            )
        self.layout = layout
        self.valid_share = valid_share
        self.test_share = test_share
        self._open_set = open_set

    @cached_property
    def open_set(self) -> bool:
        """Whether test classes do not occur in train."""
        return shares_no_class(self.folder_rows) if self._open_set is None else self._open_set

    @cached_property
    def found(self) -> FolderLayout:
        """Which folders are splits and classes, and what was passed over.

        Raises:
            FileNotFoundError: `dataset_path` is no folder.
            ValueError: it holds no images, folders cannot be told apart, see `read_layout`, or a
                class is spelled otherwise in another split.
        """
        root = self.dataset_path
        if not root.is_dir():
            raise FileNotFoundError(
                f"{root} is not a folder; expected {root}/<class>/<image> or "
                f"{root}/train/<class>/<image>. Say where the images are with "
                "dataset=folder dataset.params.dataset_path=PATH"
            )
        found = read_layout(root, self.layout)
        if not found.files:
            left_out = "".join(f"; {each}" for each in found.passed_over.sentences)
            raise ValueError(
                f"no images in class folders below {root}: expected {root}/<class>/<image>, with "
                f"an ending such as .jpg, .png or .webp{left_out}"
            )
        refuse_other_spellings(found.files, str(root), is_open=self._open_set is True)
        return found

    @property
    def origins(self) -> dict[str, str]:
        """See `ImageFileDataset`."""
        if not self.found.folders:
            return dict.fromkeys(("valid", "test"), "held out of the class folders")
        valid = {} if "valid" in self.found.folders else {"valid": "held out of train"}
        return {split: f"folder {name}" for split, name in self.found.folders.items()} | valid

    @property
    def passed_over(self) -> list[str]:
        """See `ImageFileDataset`."""
        return self.found.passed_over.sentences

    @property
    def lost(self) -> list[str]:
        """See `ImageFileDataset`."""
        return self.found.passed_over.lost

    @property
    def class_files(self) -> dict[str, dict[str, list[str]]]:
        """Split (or "" without subfolders) -> class -> sorted paths below `dataset_path`."""
        return self.found.files

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
        if "" in rows:
            all_rows = rows.pop("")
            held_out = hold_out(all_rows, self.test_share, by_class=self.open_set)
            rows |= {"train": all_rows.chosen(~held_out), "test": all_rows.chosen(held_out)}
        if "valid" not in rows:
            held_out = hold_out(rows["train"], self.valid_share, by_class=self.open_set)
            rows["valid"] = rows["train"].chosen(held_out)
            rows["train"] = rows["train"].chosen(~held_out)
        return rows
