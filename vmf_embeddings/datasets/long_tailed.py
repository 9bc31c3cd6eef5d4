"""Any closed set with its training split subsampled to a long tail, equally in every process."""

import logging
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch

from vmf_embeddings.datasets.base import Dataset, Split, check_views
from vmf_embeddings.datasets.image_transform import ImageTransform
from vmf_embeddings.datasets.subsampling import (
    PROFILES,
    profile_counts,
    shuffled_members,
    subset_seed_of,
)
from vmf_embeddings.datasets.subset import Subset

log = logging.getLogger(__name__)

VALIDATION = ("own", "every_class", "unchosen", "none")
VALID_FRACTION = 0.15  # of the images of a class, for validation=unchosen and every_class
GIVEN_UP = 0.05  # of the training images of a class without others, for validation=every_class


class LongTailed(Dataset):
    """The data set `of`, whose training images are subsampled class by class; test is unchanged.

    The validation split is one of:

    - `own`: the data set's own validation split; the rest is subsampled for training.
    - `unchosen`: all images that may be trained on are subsampled, as in the published benchmarks,
      and 15% of each class, or as many as there are, are taken from the images that were not
      chosen. Classes whose images are all trained on have no validation images.
    - `every_class`: as `unchosen`, but a class whose images would all be trained on gives up 5% of
      them, at least one, so that every class validates.
    - `none`: all images that may be trained on are subsampled, and there is no validation split;
      for mode.select=test, which selects the epoch on the test set as many published codes do.

    Args:
        of: a closed set; or the configuration {name, params} of one, with `params` instantiated.
        profile: "exp", "step", or "none" to keep all training images.
        imbalance_factor: images of the first class over those of the last, >= 1.
        n_max: images of the first class; None = the size of the smallest class, so that every class
            has as many images as the profile needs. Smaller classes keep all their images.
        subset: which images are kept: "ldam", "glmc" or "seeded", see `subsampling`.
        subset_seed: for "seeded", >= 0. It differs from the run's seed, so that runs with
            different seeds train on the same images.
        validation: "own", "every_class", "unchosen" or "none".
        balanced_test: whether test (and the data set's own validation split) keep equally many
            images of every class: as many as the smallest class has.
        views: augmented versions of each training image, see `Split.with_views`.
        margin_warmup_epochs: see `Dataset`.
    """

    def __init__(
        self,
        of: Dataset | Mapping[str, Any],
        *,
        profile: str,
        imbalance_factor: float,
        n_max: int | None,
        subset: str,
        subset_seed: int,
        validation: str,
        balanced_test: bool,
        views: int,
        margin_warmup_epochs: int,
    ) -> None:
        super().__init__(margin_warmup_epochs=margin_warmup_epochs)
        self.of: Dataset = of["params"] if isinstance(of, Mapping) else of
        self.name = f"{self.of.name}_lt"
        self.standardize = self.of.standardize
        self.seed = subset_seed_of(subset, subset_seed)
        self.profile = _check_choice("profile", profile, (*PROFILES, "none"))
        self.validation = _check_choice("validation", validation, VALIDATION)
        self.views = check_views(views)
        self.imbalance_factor = imbalance_factor
        self.n_max = n_max
        self.balanced_test = balanced_test
        profile_counts(1 if n_max is None else n_max, 2, imbalance_factor)  # refuses wrong values

    @property
    def example_shape(self) -> tuple[int, ...]:
        """See `Dataset`; that of the data set `of`."""
        return self.of.example_shape

    @property
    def image_transform(self) -> ImageTransform | None:
        """See `Dataset`; that of the data set `of`."""
        return self.of.image_transform

    def check(self) -> None:
        """Checks the data set `of`, and that every class keeps images.

        Raises:
            ValueError: it is an open set, a class would have no training images, or more than a
                tenth of the classes would have no validation images.
        """
        self.of.check()
        if self.of.open_set:
            raise ValueError(
                f"only closed sets can be subsampled to a long tail, and {self.of.name} is open: "
                "its test classes are not those of training"
            )
        counts = np.array([len(chosen) for chosen in self.chosen])
        shown = " ".join(map(str, counts[:10])) + (" …" if len(counts) > 10 else "")
        log.info("%s: %d training images, by class %s", self.name, counts.sum(), shown)
        if self.validation == "unchosen":
            self._check_validation_classes()

    @cached_property
    def members(self) -> list[np.ndarray]:
        """Shuffled positions of each class among the images that may be trained on."""
        return shuffled_members(self._source(augment=False).labels.numpy(), self.seed)

    @cached_property
    def chosen(self) -> list[np.ndarray]:
        """Positions of the training images of each class."""
        members = self.members
        if self.profile == "none" and self.validation != "every_class":
            return members
        n_max = min(map(len, members)) if self.n_max is None else self.n_max
        counts = self._counts(n_max)
        if counts.min() == 0:
            raise ValueError(
                f"imbalance_factor={self.imbalance_factor} leaves {(counts == 0).sum()} of "
                f"{len(counts)} classes of {self.of.name} without training images: the first class "
                f"has {n_max}; give a dataset.params.imbalance_factor below {n_max}"
            )
        return [
            row[: count - self._given_up(len(row), count)]
            for row, count in zip(members, counts.tolist(), strict=True)
        ]

    def _counts(self, n_max: int) -> np.ndarray:
        if self.profile == "none":
            return np.array([len(row) for row in self.members])
        return profile_counts(n_max, len(self.members), self.imbalance_factor, self.profile)

    def _given_up(self, n_images: int, count: int) -> int:
        """Images that validate instead of being trained on, of a class that would keep `count`."""
        if self.validation != "every_class" or count < n_images:
            return 0
        return min(max(1, round(GIVEN_UP * n_images)), n_images - 1)

    @cached_property
    def unchosen(self) -> list[np.ndarray]:
        """Positions of the validation images of each class that are not trained on."""
        return [
            row[len(chosen) : len(chosen) + round(VALID_FRACTION * len(row))]
            for row, chosen in zip(self.members, self.chosen, strict=True)
        ]

    def _source(self, *, augment: bool) -> Split:
        if self.validation == "own":
            return self.of.split("train", augment=augment)
        return self.of.pool(augment=augment)

    def _make_split(self, name: str, augment: bool) -> Split:
        if name == "train":
            return _subset(self._source(augment=augment), self.chosen)
        if name == "valid" and self.validation in ("unchosen", "every_class"):
            return _subset(self._source(augment=augment), self.unchosen)
        if name == "valid" and self.validation == "none":
            raise ValueError(
                f"{self.name} has no validation split with dataset.params.validation=none; add "
                "mode.select=test, or use dataset.params.validation=own or unchosen"
            )
        whole = self.of.split(name, augment=augment)
        return _balanced(whole) if self.balanced_test else whole

    def _check_validation_classes(self) -> None:
        """Refuses a validation split without images of more than a tenth of the classes."""
        lacking = sum(len(row) == 0 for row in self.unchosen)
        if 0 < lacking <= 0.1 * len(self.unchosen):
            log.warning(
                "%s: %d classes, all of whose images are trained on, have none to validate on; "
                "dataset.params.validation=every_class holds some of them out",
                *(self.name, lacking),
            )
        if lacking > 0.1 * len(self.unchosen):
            raise ValueError(
                f"dataset.params.validation=unchosen has no images of {lacking} of "
                f"{len(self.unchosen)} classes, because all of theirs are trained on; use "
                "dataset.params.validation=own or every_class, or validation=none with "
                "mode.select=test as the published codes do"
            )


def _check_choice(key: str, value: str, known: tuple[str, ...]) -> str:
    """`value` itself, or a ValueError if it is not one of the known ones."""
    if value not in known:
        raise ValueError(f"dataset.params.{key} is one of {', '.join(known)}; got {value!r}")
    return value


def _subset(whole: Split, positions: list[np.ndarray]) -> Subset:
    return Subset(whole, torch.from_numpy(np.concatenate(positions)))


def _balanced(whole: Split) -> Subset:
    """Equally many images of each class, those that come first; the order does not change."""
    labels = whole.labels.numpy()
    fewest = int(whole.class_counts.min())
    if fewest == 0:
        raise ValueError(
            "balanced_test: a class has no test images; use dataset.params.balanced_test=false"
        )
    positions = [np.flatnonzero(labels == k)[:fewest] for k in range(whole.n_classes)]
    return Subset(whole, torch.from_numpy(np.sort(np.concatenate(positions))))
