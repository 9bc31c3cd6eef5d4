"""Splits of image files, and the base class of data sets that find such files."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.datasets.base import Dataset, Split, identity_of
from vmf_embeddings.datasets.header_check import check_headers
from vmf_embeddings.datasets.image_reading import (
    Background,
    ImageReader,
    background_colour,
    check_reading,
    name_skipped,
)
from vmf_embeddings.datasets.image_transform import ImageTransform
from vmf_embeddings.datasets.leakage import refuse_shared_images
from vmf_embeddings.datasets.normalisation import check_normalisation
from vmf_embeddings.datasets.rows import MISSING, NO_FILE, Rows
from vmf_embeddings.datasets.summary_line import summary_line
from vmf_embeddings.datasets.transforms import build_transform, evaluation_transform, recipe_named
from vmf_embeddings.untrusted.image_pixels import WHITE
from vmf_embeddings.untrusted.refused import Refused

log = logging.getLogger(__name__)


class ImageFileSplit(Split):
    """Image files, decoded with Pillow whenever they are accessed."""

    def __init__(
        self,
        labels: Tensor,
        *,
        paths: Sequence[str],
        transform: Callable[[Any], Tensor],
        identity: str,
        n_classes: int,
        open_set: bool,
        original_labels: Tensor,
        class_names: Sequence[str] | None = None,
        is_query: Tensor | None = None,
        is_gallery: Tensor | None = None,
        reader: ImageReader | None = None,
    ) -> None:
        super().__init__(
            labels,
            identity=identity,
            n_classes=n_classes,
            open_set=open_set,
            original_labels=original_labels,
            class_names=class_names,
            paths=paths,
            is_query=is_query,
            is_gallery=is_gallery,
        )
        self.transform = transform
        self.reader = reader or ImageReader(WHITE)

    def example(self, index: int) -> Tensor:
        """One image, float32 [3, H, W], or several views of it, [views, 3, H, W]; decoded once.

        Raises:
            Refused: naming the file, where it cannot be decoded or resized.
        """
        path = self.paths[index]
        with self.reader.image(path) as image:
            try:
                views = [self.transform(image) for _ in range(self.views)]
            except Refused as error:
                raise Refused(f"{path}: {error}") from error
        return views[0] if self.views == 1 else torch.stack(views)


class ImageFileDataset(Dataset):
    """Base class of data sets of image files; subclasses list the files in `_read_rows`.

    Args:
        dataset_path: folder of the data, relative to the current directory.
        image_size: side of the network's square input in pixels; smaller images are enlarged.
        augment: name of the training recipe, see `transforms.RECIPES`.
        mean: per channel, subtracted from values in [0, 1].
        std: per channel, divides them.
        margin_warmup_epochs: see `Dataset`.
        bgr: whether the network expects the channels in the order blue, green, red.
        background: what is seen where an image is transparent: a colour's name, or red, green and
            blue in 0..255; images are also turned as their EXIF orientation says. None: opacity is
            dropped and the orientation ignored, as up to version 1.0. Part of a split's identity.
        max_pixels: of one image; a number replaces the limits of `untrusted.images.read_image`.
        on_error: what is done with images that cannot be decoded: "refuse", or "skip": all images
            are decoded once, before work starts, and those are named and left out of their split.

    Attributes:
        shared_hint: end of the message about an image in two splits.
    """

    shared_hint = ""

    def __init__(
        self,
        dataset_path: str | Path,
        *,
        image_size: int,
        augment: str,
        mean: Sequence[float],
        std: Sequence[float],
        margin_warmup_epochs: int,
        bgr: bool = False,
        background: Background = "white",
        max_pixels: int | None = None,
        on_error: str = "refuse",
    ) -> None:
        super().__init__(margin_warmup_epochs=margin_warmup_epochs)
        if image_size < 1:
            raise ValueError(f"dataset.params.image_size must be >= 1, got {image_size}")
        check_normalisation(mean, std)
        self.dataset_path = Path(dataset_path).expanduser()
        self.image_size = image_size
        self.recipe = recipe_named(augment)
        if self.recipe.size not in (None, image_size):
            raise ValueError(
                f"dataset.params.augment={augment} is for images of {self.recipe.size} pixels, "
                f"got {image_size}; add dataset.params.image_size={self.recipe.size}"
            )
        self.mean = mean
        self.std = std
        self.bgr = bgr
        check_reading(max_pixels, on_error)
        self.reader = ImageReader(background_colour(background), max_pixels)
        self.skips = on_error == "skip"
        self.image_shape = (3, image_size, image_size)

    @property
    def image_transform(self) -> ImageTransform:
        """See `Dataset`."""
        return evaluation_transform(
            self.recipe,
            image_size=self.image_size,
            mean=self.mean,
            std=self.std,
            bgr=self.bgr,
            background=self.reader.background,
        )

    @abstractmethod
    def _read_rows(self) -> dict[str, Rows]:
        """Rows per split; splits without rows are left out."""

    def _class_name(self, label: int) -> str | None:
        """Name of an original label, if classes have names."""
        return None

    @property
    def origins(self) -> dict[str, str]:
        """Split -> what was taken for it, where that is not plain."""
        return {}

    @property
    def passed_over(self) -> list[str]:
        """Sentences about files that were found and are not used."""
        return []

    @property
    def lost(self) -> list[str]:
        """Those of `passed_over` that were probably meant to be used."""
        return []

    @property
    def summary(self) -> str:
        """What was found and taken for what, in one line."""
        return summary_line(
            str(self.dataset_path),
            self.rows,
            self.origins,
            open_set=self.open_set,
            passed_over=self.passed_over,
        )

    def check_parts(self, parts: dict[str, Rows]) -> None:
        """Refuses rows whose splits do not go together, after no image was found in two of them."""

    @cached_property
    def parts(self) -> dict[str, Rows]:
        """The rows of every split as listed, before they are checked against one another."""
        return self._read_rows()

    @cached_property
    def rows(self) -> dict[str, Rows]:
        """The rows of every split, read once.

        Raises:
            ValueError: a list is malformed, or an image is in two splits or under two labels.
        """
        parts = self.parts
        links = refuse_shared_images(
            parts,
            str(self.dataset_path),
            lambda label: self._class_name(label) or str(label),
            self.shared_hint,
        )
        if links is not None:
            log.warning(links)
        self.check_parts(parts)
        if not self.skips:
            return parts
        log.info("Decoding all images once, for dataset.params.on_error=skip")
        return {name: self._without_unreadable(name, part) for name, part in parts.items()}

    def _without_unreadable(self, name: str, rows: Rows) -> Rows:
        """The rows of a split whose images can be decoded; the others are named in the log.

        Raises:
            Refused: none can be decoded.
        """
        faults = self.reader.faults(rows.paths)
        if not faults:
            return rows
        log.warning(name_skipped(faults, len(rows.files), name))
        if len(faults) == len(rows.files):
            raise Refused(f"no {name} image can be read: {next(iter(faults.values()))}")
        readable = np.ones(len(rows.files), dtype=bool)
        readable[list(faults)] = False
        return rows.chosen(readable)

    def check(self) -> None:
        """Reads the lists, and the headers of all files: that they exist and are whole images.

        Raises:
            FileNotFoundError: naming the first missing image and the number of missing ones.
            ValueError: a list is malformed, or a file is empty, truncated, no image, or too large.
        """
        for name, rows in self.rows.items():
            self._labels(name)
            self._check_files(name, rows)
        log.info(self.summary)
        for sentence in self.lost:
            log.warning("%s: %s", self.dataset_path, sentence)
        check_headers({name: rows.paths for name, rows in self.rows.items()}, self.reader)

    def _check_files(self, name: str, rows: Rows) -> None:
        sizes, paths = rows.states.sizes, rows.paths
        missing = np.flatnonzero(sizes == MISSING)
        if len(missing):
            first = paths[missing[0]]
            slashes = " and are written with /, not \\" if "\\" in first else ""
            raise FileNotFoundError(
                f"{len(missing)} of {len(paths)} {name} images do not exist; the first is "
                f"{first}. Paths start from {rows.root}{slashes}; say where the data lie "
                "with dataset.params.dataset_path=PATH"
            )
        for size, fault in ((0, "empty"), (NO_FILE, "folders, pipes or devices")):
            found = np.flatnonzero(sizes == size)
            if len(found):
                raise ValueError(
                    f"{len(found)} {name} images are {fault}; the first is {paths[found[0]]}"
                )

    def _rows_of(self, name: str) -> Rows:
        if name not in self.rows:
            raise ValueError(
                f"{self.dataset_path} has no {name} images; it has {', '.join(self.rows)}"
            )
        return self.rows[name]

    def _labels(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Original class numbers [C] of a split, and the labels [N] of its images in 0..C-1.

        In an open set each split has its own classes; in a closed set all have those of train.
        """
        labels = self._rows_of(name).labels
        if self.open_set or name == "train":
            return np.unique(labels, return_inverse=True)
        classes = np.unique(self._rows_of("train").labels)
        unknown = ~np.isin(labels, classes)
        if unknown.any():
            first = int(labels[unknown][0])
            raise ValueError(
                f"{unknown.sum()} {name} images belong to classes that train lacks, the first to "
                f"{self._class_name(first) or first}: not a closed set. For retrieval over new "
                "classes use dataset.params.open_set=true; otherwise remove those images"
            )
        return classes, np.searchsorted(classes, labels)

    def _make_split(self, name: str, augment: bool) -> Split:
        rows = self._rows_of(name)
        classes, labels = self._labels(name)
        names = [self._class_name(label) for label in classes.tolist()]
        return ImageFileSplit(
            torch.from_numpy(labels),
            paths=rows.paths,
            transform=build_transform(
                self.recipe,
                image_size=self.image_size,
                augment=augment,
                mean=self.mean,
                std=self.std,
                bgr=self.bgr,
                background=self.reader.background,
            ),
            reader=self.reader,
            identity=identity_of(
                [self.name, name, "\n".join(rows.files), rows.labels, *self.reader.identity]
            ),
            n_classes=len(classes),
            open_set=self.open_set,
            original_labels=torch.from_numpy(rows.labels),
            class_names=None if None in names else names,
            is_query=None if rows.is_query is None else torch.from_numpy(rows.is_query),
            is_gallery=None if rows.is_gallery is None else torch.from_numpy(rows.is_gallery),
        )
