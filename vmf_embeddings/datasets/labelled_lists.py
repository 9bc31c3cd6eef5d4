"""Closed sets from list files with lines `path label`: ImageNet-LT, Places-LT, iNaturalist.

ImageNet-LT and Places-LT: Liu et al. 2019, https://arxiv.org/abs/1904.05160. iNaturalist: Van Horn
et al. 2018, https://arxiv.org/abs/1707.06642.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from vmf_embeddings.datasets.base import check_views
from vmf_embeddings.datasets.class_spelling import refuse_other_spellings
from vmf_embeddings.datasets.holdout import check_fraction, hold_out
from vmf_embeddings.datasets.image_files import ImageFileDataset
from vmf_embeddings.datasets.image_reading import Background
from vmf_embeddings.datasets.list_table import ListTable, read_list_table
from vmf_embeddings.datasets.rows import LONG, Rows, refuse_escapes
from vmf_embeddings.labels import is_whole_number, read_labels


class LabelledLists(ImageFileDataset):
    """A list file per split; the last word of a line is the class, the rest is the path.

    Classes are numbers or names, see `labels.read_labels`.

    Args:
        dataset_path: folder that the paths in the lists start from, relative to the current
            directory; a leading / of a path is removed.
        train_list: the list of train; relative to `dataset_path`, or else to the current directory.
        valid_list: the list of valid; None = hold out `valid_share` of train instead.
        test_list: the list of test.
        valid_share: fraction of the images of every training class that becomes valid where
            `valid_list` is None; 0 = no validation split.
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

    Attributes:
        sizes: number of images in the published list of each split; empty = any.
        n_published_classes: number of classes in the published lists; None = any.
        source: where to get the lists, for messages.
    """

    name = "image_list"
    sizes: ClassVar[Mapping[str, int]] = {}
    n_published_classes: int | None = None
    source = "lines are `path label`"

    def __init__(
        self,
        dataset_path: str | Path,
        *,
        train_list: str,
        valid_list: str | None,
        test_list: str,
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
        if not train_list:
            raise ValueError(
                "dataset.params.train_list, with dataset=tar train_tars, is empty: name the "
                "training images there, or leave it out"
            )
        if valid_share:
            check_fraction("valid_share", valid_share)
        self.lists = {"train": train_list, "valid": valid_list, "test": test_list}
        self.valid_share = valid_share
        self.views = check_views(views)

    @property
    def shared_hint(self) -> str:
        """See `ImageFileDataset`."""
        no_list = "; without a validation list of its own: dataset.params.valid_list=null"
        return no_list if self.lists["valid"] else ""

    @cached_property
    def _tables(self) -> dict[str, ListTable]:
        """Split -> the rows of its list."""
        found = {}
        for name, file in self.lists.items():
            if file:
                found[name] = read_list_table(self._path(file), separator=None)
                suspects = [found[name].files[row] for row in found[name].dotted.tolist()]
                refuse_escapes(suspects, str(found[name].path))
        return found

    @cached_property
    def _numbers_and_names(self) -> tuple[np.ndarray, list[str] | None]:
        """The class of each word of all lists, one after another, and their names, or None."""
        numbers, names = read_labels(
            [word for table in self._tables.values() for word in table.words], place=self._place
        )
        if names is not None:
            if self.sizes:
                wrong = next(name for name in names if not is_whole_number(name))
                raise ValueError(
                    f"the lists of {self.name} have class numbers, got {wrong!r}. For lists of "
                    "your own use dataset=image_list"
                )
            by_split = {name: set(table.words) for name, table in self._tables.items()}
            refuse_other_spellings(by_split, str(self.dataset_path))
        return numbers, names

    @property
    def origins(self) -> dict[str, str]:
        """See `ImageFileDataset`."""
        return {"valid": "held out of train"} | {name: f for name, f in self.lists.items() if f}

    def _place(self, number: int) -> str:
        """Where a word of all lists, one after another, stands first."""
        for table in self._tables.values():
            if number < len(table.words):
                return table.place(table.first_row(number))
            number -= len(table.words)
        raise IndexError(number)

    def _class_name(self, label: int) -> str | None:
        names = self._numbers_and_names[1]
        return None if names is None else names[label]

    def _read_rows(self) -> dict[str, Rows]:
        numbers, rows = self._numbers_and_names[0], {}
        n_rows = sum(len(table.files) for table in self._tables.values())
        for name, table in self._tables.items():
            own, numbers = numbers[: len(table.words)], numbers[len(table.words) :]
            self._check_count(table.path, f"{name} images", len(table.files), self.sizes.get(name))
            if name == "train":
                n_classes = len(np.unique(own))
                self._check_count(table.path, "classes", n_classes, self.n_published_classes)
            is_long = n_rows > LONG
            rows[name] = Rows(
                table.files if is_long or table.files.has_places else list(table.files),
                own[table.codes],
                self.dataset_path,
                hashes=table.hashes if is_long else None,
            )
            table.release()
        if "valid" not in rows and self.valid_share:
            held_out = hold_out(rows["train"], self.valid_share, by_class=False)
            rows["valid"] = rows["train"].chosen(held_out)
            rows["train"] = rows["train"].chosen(~held_out)
        return rows

    def _path(self, file: str) -> Path:
        locations = [self.dataset_path / file, Path(file).expanduser()]
        for path in locations:
            if path.is_file():
                return path
        raise FileNotFoundError(
            f"{locations[0]} does not exist; {self.source}. Say where the data lie with "
            "dataset.params.dataset_path=PATH, and which files the lists are with "
            "dataset.params.train_list=FILE, valid_list and test_list"
        )

    def _check_count(self, path: Path, what: str, found: int, published: int | None) -> None:
        if published is not None and found != published:
            others = [name for name, size in self.sizes.items() if size == found]
            hint = f"; that many are in the {others[0]} list" if others else ""
            raise ValueError(
                f"{path} has {found} {what}, and {self.name} has {published}{hint}. For lists of "
                "your own use dataset=image_list"
            )


class ImageNetLT(LabelledLists):
    """1,000 classes with 1,280 to 5 training images; class numbers do not follow frequency."""

    name = "imagenet_lt"
    sizes: ClassVar[Mapping[str, int]] = {"train": 115_846, "valid": 20_000, "test": 50_000}
    n_published_classes = 1000
    source = "the lists come with https://arxiv.org/abs/1904.05160, the images are ImageNet's"


class PlacesLT(LabelledLists):
    """365 scenes with 4,980 to 5 training images (first version of the lists)."""

    name = "places_lt"
    sizes: ClassVar[Mapping[str, int]] = {"train": 62_500, "valid": 7_300, "test": 36_500}
    n_published_classes = 365
    source = "the lists come with https://arxiv.org/abs/1904.05160, the images are Places365's"


class INat2018(LabelledLists):
    """8,142 species with 1,000 to 2 training images; the official validation part is test."""

    name = "inat2018"
    sizes: ClassVar[Mapping[str, int]] = {"train": 437_513, "test": 24_426}
    n_published_classes = 8142
    source = "python -m vmf_embeddings.datasets.prepare.inaturalist PATH makes it"


class INat2019(INat2018):
    """1,010 species; the official validation part is test."""

    name = "inat2019"
    sizes: ClassVar[Mapping[str, int]] = {"train": 265_213, "test": 3_030}
    n_published_classes = 1010
