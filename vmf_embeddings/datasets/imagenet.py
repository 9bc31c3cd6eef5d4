"""ImageNet from its folders (Russakovsky et al. 2015, https://arxiv.org/abs/1409.0575)."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from vmf_embeddings.datasets.base import check_views
from vmf_embeddings.datasets.folder_layout import classes_below
from vmf_embeddings.datasets.holdout import check_fraction, hold_out
from vmf_embeddings.datasets.image_files import ImageFileDataset
from vmf_embeddings.datasets.image_reading import Background
from vmf_embeddings.datasets.rows import Rows

TEST_FOLDERS = ("val_dir", "val")  # possible names of the official validation part


class ImageNet(ImageFileDataset):
    """`PATH/train/<class>/<image>` and `PATH/val/<class>/<image>`; the latter is test.

    Args:
        dataset_path: the folder, relative to the current directory.
        valid_share: fraction of train that becomes valid; 0 = no validation split.
        image_size: see `ImageFileDataset`.
        augment: name of the training recipe.
        mean: per channel.
        std: per channel.
        normalisation: see `ImageFileDataset`.
        interpolation: see `ImageFileDataset`.
        crop_fraction: see `ImageFileDataset`.
        views: augmented versions of each training image, see `Split.with_views`.
        background: see `ImageFileDataset`.
        max_pixels: see `ImageFileDataset`.
        on_error: see `ImageFileDataset`.
        check: see `ImageFileDataset`.
        decoder: see `ImageFileDataset`.
        margin_warmup_epochs: see `Dataset`.
    """

    name = "imagenet"

    def __init__(
        self,
        dataset_path: str | Path,
        *,
        valid_share: float,
        image_size: int,
        augment: str,
        mean: Sequence[float],
        std: Sequence[float],
        normalisation: str = "data",
        interpolation: str = "bilinear",
        crop_fraction: float | None = None,
        views: int,
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
        if valid_share:
            check_fraction("valid_share", valid_share)
        self.valid_share = valid_share
        self.views = check_views(views)

    @cached_property
    def folder_names(self) -> list[str]:
        """Sorted names of the folders in train; the position is the class."""
        return sorted(self.class_files["train"])

    @cached_property
    def class_files(self) -> dict[str, dict[str, list[str]]]:
        """Split -> class -> sorted paths below `dataset_path`."""
        root = self.dataset_path
        test = next((name for name in TEST_FOLDERS if (root / name).is_dir()), None)
        if test is None or not (root / "train").is_dir():
            raise FileNotFoundError(
                f"{root} has no folders train and {' or '.join(TEST_FOLDERS)}; expected "
                f"{root}/train/<class>/<image>. Say where ImageNet lies with "
                "dataset=imagenet dataset.params.dataset_path=PATH"
            )
        found = {"train": classes_below(root, "train"), "test": classes_below(root, test)}
        for name, classes in found.items():
            if not classes:
                raise ValueError(
                    f"{root} has no {name} images in class folders; ImageNet's validation "
                    f"images must be sorted into {root}/val/<class>/"
                )
        unknown = sorted(found["test"].keys() - found["train"].keys())
        if unknown:
            raise ValueError(
                f"{root}/{test} has {len(unknown)} class folders that train lacks, the first is "
                f"{unknown[0]}"
            )
        return found

    def _class_name(self, label: int) -> str:
        return self.folder_names[label]

    def _read_rows(self) -> dict[str, Rows]:
        rows = {split: self._rows(classes) for split, classes in self.class_files.items()}
        if self.valid_share:
            held_out = hold_out(rows["train"], self.valid_share, by_class=False)
            rows["valid"] = rows["train"].chosen(held_out)
            rows["train"] = rows["train"].chosen(~held_out)
        return rows

    def _rows(self, classes: dict[str, list[str]]) -> Rows:
        number = {name: i for i, name in enumerate(self.folder_names)}
        files = [file for name in sorted(classes) for file in classes[name]]
        labels = [number[name] for name in sorted(classes) for _ in classes[name]]
        return Rows(files, np.array(labels, dtype=np.int64), self.dataset_path)
