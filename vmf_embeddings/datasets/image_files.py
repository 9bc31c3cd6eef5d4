"""Base class of data sets of image files."""

import logging
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from vmf_embeddings.datasets.augmentation_recipes import recipe_named
from vmf_embeddings.datasets.base import Dataset, Split, identity_of
from vmf_embeddings.datasets.contents import Contents, copies, decoded_contents
from vmf_embeddings.datasets.doubts import doubts
from vmf_embeddings.datasets.header_check import check_headers
from vmf_embeddings.datasets.image_file_split import ImageFileSplit
from vmf_embeddings.datasets.image_reading import (
    Background,
    ImageReader,
    background_colour,
    check_reading,
    name_skipped,
)
from vmf_embeddings.datasets.image_transform import ImageTransform, check_resizing
from vmf_embeddings.datasets.leakage import refuse_shared_images
from vmf_embeddings.datasets.missing_files import refuse_missing, refuse_unreadable
from vmf_embeddings.datasets.normalisation import chosen_normalisation
from vmf_embeddings.datasets.rows import Rows
from vmf_embeddings.datasets.split_classes import classes_of_split, distinct
from vmf_embeddings.datasets.summary_line import summary_line
from vmf_embeddings.datasets.texts import Texts
from vmf_embeddings.datasets.transforms import (
    build_transform,
    evaluation_transform,
    size_before_crop,
)
from vmf_embeddings.untrusted.refused import Refused

log = logging.getLogger(__name__)


class ImageFileDataset(Dataset):
    """Base class of data sets of image files; subclasses list the files in `_read_rows`.

    Args:
        dataset_path: folder of the data, relative to the current directory.
        image_size: side of the network's square input in pixels; smaller images are enlarged.
        augment: name of the training recipe, see `augmentation_recipes.RECIPES`.
        mean: per channel, subtracted from values in [0, 1]; read with `normalisation="data"`.
        std: per channel, divides them; likewise.
        margin_warmup_epochs: see `Dataset`.
        bgr: whether the network expects the channels in the order blue, green, red.
        normalisation: "data" = by `mean` and `std`, or a name of `normalisation.NORMALISATIONS`.
        interpolation: of all resizing, see `ImageTransform`.
        crop_fraction: side of the centre crop over the short side of the resized image, in (0, 1];
            None = as the recipe says, mostly 7/8.
        background: what is seen where an image is transparent: a colour's name, or red, green and
            blue in 0..255; images are also turned as their EXIF orientation says. None: opacity is
            dropped and the orientation ignored, as up to version 1.0. Part of a split's identity.
        max_pixels: of one image; a number replaces the limits of `untrusted.images.read_image`.
        on_error: what is done with images that cannot be decoded: "refuse", or "skip": all images
            are decoded once, before work starts, and those are named and left out of their split.
        check: how closely files are looked at before work starts: "cheap" reads their headers,
            "full" decodes all, refuses what cannot be read, and names copies in two splits or under
            two labels.
    """

    def __init__(
        self,
        dataset_path: str | Path,
        *,
        image_size: int,
        augment: str,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        margin_warmup_epochs: int,
        bgr: bool = False,
        normalisation: str = "data",
        interpolation: str = "bilinear",
        crop_fraction: float | None = None,
        background: Background = "white",
        max_pixels: int | None = None,
        on_error: str = "refuse",
        check: str = "cheap",
        decoder: str = "pillow",
    ) -> None:
        super().__init__(margin_warmup_epochs=margin_warmup_epochs)
        if image_size == "auto":
            raise ValueError(
                "dataset.params.image_size=auto is that of a network, which the command `train` "
                "looks up; without one say a number, such as dataset.params.image_size=224"
            )
        if type(image_size) is not int or image_size < 1:
            raise ValueError(f"dataset.params.image_size must be >= 1, got {image_size}")
        known = chosen_normalisation(normalisation, mean, std)
        check_resizing(interpolation, crop_fraction)
        self.interpolation = interpolation
        self.crop_fraction = crop_fraction
        self.dataset_path = Path(dataset_path).expanduser()
        self.image_size = image_size
        self.recipe = recipe_named(augment)
        if self.recipe.size not in (None, image_size):
            raise ValueError(
                f"dataset.params.augment={augment} is for images of {self.recipe.size} pixels, "
                f"got {image_size}; add dataset.params.image_size={self.recipe.size}"
            )
        self.mean = known.mean
        self.std = known.std
        self.bgr = bgr or known.bgr
        check_reading(max_pixels, on_error, check, decoder)
        self.reader = ImageReader(background_colour(background), max_pixels)
        if decoder == "draft":
            sides = (size_before_crop(self.recipe, image_size), self.image_transform.resize or 0)
            self.reader = replace(self.reader, draft_side=max(sides))
        self.skips = on_error == "skip"
        self.is_checked_fully = check == "full"
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
            interpolation=self.interpolation,
            crop_fraction=self.crop_fraction,
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
    def shared_hint(self) -> str:
        """End of the message about an image in valid and another split."""
        return ""

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
            self.name_of,
            self.shared_hint,
        )
        if links is not None:
            log.warning(links)
        self.check_parts(parts)
        return self._without_unreadable(parts) if self.skips else parts

    @cached_property
    def contents(self) -> Contents:
        """What decoding all files once shows."""
        return decoded_contents(self.parts, replace(self.reader, draft_side=None))

    def _without_unreadable(self, parts: dict[str, Rows]) -> dict[str, Rows]:
        """Rows whose images can be decoded; the others are named in the log.

        Raises:
            Refused: a split has none.
        """
        log.info("Decoding all images once, for dataset.params.on_error=skip")
        faults, kept = self.contents.faults, {}
        for name, rows in parts.items():
            readable = np.array([path not in faults for path in rows.paths])
            found = [faults[path] for path in rows.paths if path in faults]
            if found:
                log.warning(name_skipped(found, len(rows.files), name))
            if not readable.any():
                raise Refused(f"no {name} image can be read: {found[0]}")
            kept[name] = rows.chosen(readable) if found else rows
        return kept

    def check(self) -> None:
        """Reads the lists, and the headers of all files: that they exist and are whole images.

        Raises:
            FileNotFoundError: naming the first missing image and the number of missing ones.
            ValueError: a list is malformed, or a file is empty, truncated, no image, or too large;
                with `check="full"`, it cannot be decoded.
        """
        looked_at = {name: rows.looked_at for name, rows in self.rows.items()}
        for name, rows in looked_at.items():
            self._classes(name)
            refuse_missing(name, rows)
            if rows is not self.rows[name]:
                log.info("Of %d %s images, %d at equal distances are looked at before work starts, "
                         "and an image counts as repeated if its path is",
                         len(self.rows[name].files), name, len(rows.files))  # fmt: skip
        log.info(self.summary)
        for sentence in [*self.lost, *doubts(self.classes_of_splits, open_set=self.open_set)]:
            log.warning("%s: %s", self.dataset_path, sentence)
        paths = {name: rows.paths for name, rows in looked_at.items()}
        check_headers(paths, self.reader, self.image_transform)
        if self.is_checked_fully:
            self._check_fully()

    def _check_fully(self) -> None:
        """Refuses what cannot be decoded, and warns of copies.

        Raises:
            Refused: naming the first such image and their number.
        """
        log.info("Decoding all images once, for dataset.params.check=full")
        for name, rows in self.rows.items():
            refuse_unreadable(name, rows, self.contents.faults)
        for sentence in copies(self.rows, self.contents.digests).harmful(self.name_of):
            log.warning("%s: %s", self.dataset_path, sentence)

    @property
    def classes_of_splits(self) -> dict[str, list[str]]:
        """Split -> names of its classes, or their numbers as text."""
        return {
            split: [self.name_of(label) for label in distinct(rows.labels).tolist()]
            for split, rows in self.rows.items()
        }

    def name_of(self, label: int) -> str:
        """Name of an original label, or the label as text."""
        return str(self._class_name(label) or label)

    def _rows_of(self, name: str) -> Rows:
        if name not in self.rows:
            raise ValueError(
                f"{self.dataset_path} has no {name} images; it has {', '.join(self.rows)}"
            )
        return self.rows[name]

    def _classes(self, name: str) -> np.ndarray:
        """Original class numbers [C] of a split, of which its labels 0..C-1 are the positions."""
        own = self.open_set or name == "train"
        labels, train = self._rows_of(name).labels, None if own else self._rows_of("train").labels
        source, items = str(self.dataset_path), f"{name} image"
        return classes_of_split(labels, train, source, items, self.name_of)

    def _make_split(self, name: str, augment: bool) -> Split:
        rows = self._rows_of(name)
        classes = self._classes(name)
        names = [self._class_name(label) for label in classes.tolist()]
        labels = rows.labels
        if not np.array_equal(classes, np.arange(len(classes))):
            labels = np.searchsorted(classes, labels)
        files = rows.files if isinstance(rows.files, Texts) else "\n".join(rows.files)
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
                interpolation=self.interpolation,
                crop_fraction=self.crop_fraction,
            ),
            reader=self.reader,
            identity=identity_of([self.name, name, files, rows.labels, *self.reader.identity]),
            n_classes=len(classes),
            open_set=self.open_set,
            original_labels=torch.from_numpy(rows.labels),
            class_names=None if None in names else names,
            is_query=None if rows.is_query is None else torch.from_numpy(rows.is_query),
            is_gallery=None if rows.is_gallery is None else torch.from_numpy(rows.is_gallery),
        )
