"""Any closed set with its training split thinned to a long tail, the same in every process."""

import logging
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch

from vmf_embeddings.datasets.base import Dataset, Split, check_views
from vmf_embeddings.datasets.image_transform import ImageTransform
from vmf_embeddings.datasets.part import Part
from vmf_embeddings.datasets.thinning import (
    PROFILES,
    profile_counts,
    shuffled_members,
    subset_seed_of,
)

log = logging.getLogger(__name__)

VALIDATION = ("own", "unchosen", "none")
VALID_SHARE = 0.15  # of a class, for validation=unchosen


class LongTailed(Dataset):
    """`of` with its training images thinned class by class; test stays whole.

    Where validation comes from:

    - `own`: the data set's own validation split; what remains for training is thinned.
    - `unchosen`: all that may be trained on is thinned, as in the published benchmarks, and 15% of
      each class is taken from the images that were not chosen, or as many as there are. A class
      all of whose images are trained on has none there.
    - `none`: all that may be trained on is thinned and nothing validates; for mode.select=test,
      which chooses the epoch on the test set as many originals do.

    Args:
        of: a closed set, or a whole node of the group, {name, params}, whose params became one.
        profile: `exp`, `step`, or `none` to leave the training split as it is.
        imbalance_factor: images of the first class over those of the last, >= 1.
        n_max: images of the first class; None = as many as the smallest class has, so that every
            class can give what the profile asks for. Classes with fewer images give all of them.
        subset: which images: `ldam`, `glmc` or `seeded`, see `thinning`.
        subset_seed: for `seeded`, >= 0; not the run's seed, so that runs share their images.
        validation: `own`, `unchosen` or `none`.
        balanced_test: whether test (and own validation) keep equally many images of every class:
            as many as the smallest has.
        views: pictures of one training image, see `Split.with_views`.
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
        self.image_shape = self.of.image_shape
        self.seed = subset_seed_of(subset, subset_seed)
        self.profile = _one_of("profile", profile, (*PROFILES, "none"))
        self.validation = _one_of("validation", validation, VALIDATION)
        self.views = check_views(views)
        self.imbalance_factor = imbalance_factor
        self.n_max = n_max
        self.balanced_test = balanced_test
        profile_counts(1 if n_max is None else n_max, 2, imbalance_factor)  # refuses wrong values

    @property
    def image_transform(self) -> ImageTransform | None:
        """That of the data set that is thinned."""
        return self.of.image_transform

    def check(self) -> None:
        """See that the data set is there, closed, and large enough for its tail.

        Raises:
            ValueError: if it is an open set, if a class would be left without images, or if
                validation would lack more than a tenth of the classes.
        """
        self.of.check()
        if self.of.open_set:
            raise ValueError(
                f"only closed sets can be thinned, and {self.of.name} is open: its test classes "
                "are not those of training"
            )
        counts = np.array([len(chosen) for chosen in self.chosen])
        shown = " ".join(map(str, counts[:10])) + (" …" if len(counts) > 10 else "")
        log.info("%s: %d training images, by class %s", self.name, counts.sum(), shown)
        if self.validation == "unchosen":
            self._refuse_poor_validation()

    @cached_property
    def members(self) -> list[np.ndarray]:
        """Positions of each class in the images that may be trained on, shuffled."""
        return shuffled_members(self._source(augment=False).labels.numpy(), self.seed)

    @cached_property
    def chosen(self) -> list[np.ndarray]:
        """Positions that are trained on, per class."""
        members = self.members
        if self.profile == "none":
            return members
        n_max = min(map(len, members)) if self.n_max is None else self.n_max
        counts = profile_counts(n_max, len(members), self.imbalance_factor, self.profile)
        if counts.min() == 0:
            raise ValueError(
                f"imbalance_factor={self.imbalance_factor} leaves {(counts == 0).sum()} of "
                f"{len(counts)} classes of {self.of.name} without training images: the first class "
                f"has {n_max}; give a dataset.params.imbalance_factor below {n_max}"
            )
        return [places[:count] for places, count in zip(members, counts.tolist(), strict=True)]

    @cached_property
    def unchosen(self) -> list[np.ndarray]:
        """Positions that validate, per class."""
        return [
            places[len(chosen) : len(chosen) + round(VALID_SHARE * len(places))]
            for places, chosen in zip(self.members, self.chosen, strict=True)
        ]

    def _source(self, *, augment: bool) -> Split:
        if self.validation == "own":
            return self.of.split("train", augment=augment)
        return self.of.pool(augment=augment)

    def _make_split(self, name: str, augment: bool) -> Split:
        if name == "train":
            return _part(self._source(augment=augment), self.chosen)
        if name == "valid" and self.validation == "unchosen":
            return _part(self._source(augment=augment), self.unchosen)
        if name == "valid" and self.validation == "none":
            raise ValueError(
                f"{self.name} has no validation split with dataset.params.validation=none; add "
                "mode.select=test, or use dataset.params.validation=own or unchosen"
            )
        whole = self.of.split(name, augment=augment)
        return _balanced(whole) if self.balanced_test else whole

    def _refuse_poor_validation(self) -> None:
        lacking = sum(len(places) == 0 for places in self.unchosen)
        if lacking > 0.1 * len(self.unchosen):
            raise ValueError(
                f"dataset.params.validation=unchosen has no images of {lacking} of "
                f"{len(self.unchosen)} classes, because all of theirs are trained on; use "
                "dataset.params.validation=own, or validation=none with mode.select=test as the "
                "originals did"
            )


def _one_of(key: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"dataset.params.{key} is one of {', '.join(known)}; got {value!r}")
    return value


def _part(whole: Split, places: list[np.ndarray]) -> Part:
    return Part(whole, torch.from_numpy(np.concatenate(places)))


def _balanced(whole: Split) -> Part:
    """The first images of each class, equally many, in the split's order."""
    labels = whole.labels.numpy()
    fewest = int(whole.class_counts.min())
    if fewest == 0:
        raise ValueError(
            "balanced_test: a class has no test images; use dataset.params.balanced_test=false"
        )
    places = [np.flatnonzero(labels == k)[:fewest] for k in range(whole.n_classes)]
    return Part(whole, torch.from_numpy(np.sort(np.concatenate(places))))
