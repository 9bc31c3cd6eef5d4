"""Base class of the retrieval benchmarks: test classes do not occur in train; several protocols.

Protocols: Song et al. 2016, https://arxiv.org/abs/1511.06452 (no validation), Roth et al. 2020,
"Revisiting Training Strategies", https://arxiv.org/abs/2002.08473 (validation by class or by
sample), Scott et al. 2021, https://arxiv.org/abs/2103.15718 (held-out classes).
"""

import os
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np

from vmf_embeddings.datasets.holdout import check_fraction, hold_out
from vmf_embeddings.datasets.image_files import ImageFileDataset
from vmf_embeddings.datasets.image_reading import Background
from vmf_embeddings.datasets.rows import Rows

VALIDATIONS = ("by_class", "by_sample", "none")


class OpenBenchmark(ImageFileDataset):
    """Image files whose test classes do not occur in train; subclasses list the files.

    Args:
        dataset_path: folder of the data, relative to the current directory.
        validation: what becomes valid: whole classes of train ("by_class"), images of every class
            ("by_sample"), or nothing ("none").
        valid_share: fraction of train that becomes valid, in (0, 1); None = the published
            validation classes, only with "by_class".
        valid_seed: of the random choice; None = no random choice, but the last classes, or images
            at equal distances in each class. Unused where `valid_share` is None.
        image_size: side of the network's square input in pixels.
        augment: name of the training recipe, see `augmentation_recipes.RECIPES`.
        normalisation: "imagenet", "clip" or "bninception", see `normalisation`; or "data".
        mean: see `ImageFileDataset`.
        std: see `ImageFileDataset`.
        interpolation: see `ImageFileDataset`.
        crop_fraction: see `ImageFileDataset`.
        background: see `ImageFileDataset`.
        max_pixels: see `ImageFileDataset`.
        on_error: see `ImageFileDataset`.
        check: see `ImageFileDataset`.
        decoder: see `ImageFileDataset`.
        margin_warmup_epochs: see `Dataset`.
    """

    open_set = True

    def __init__(
        self,
        dataset_path: str | Path,
        *,
        validation: str,
        valid_share: float | None,
        valid_seed: int | None,
        image_size: int,
        augment: str,
        normalisation: str,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
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
        if validation not in VALIDATIONS:
            raise ValueError(
                f"dataset.params.validation must be one of {', '.join(VALIDATIONS)}, got "
                f"{validation!r}"
            )
        if valid_share is not None:
            check_fraction("valid_share", valid_share)
        elif validation == "by_sample":
            raise ValueError(
                "dataset.params.validation=by_sample needs a fraction of each class, such as "
                "dataset.params.valid_share=0.2"
            )
        self.validation = validation
        self.valid_share = valid_share
        self.valid_seed = valid_seed

    @abstractmethod
    def _read_parts(self) -> dict[str, Rows]:
        """Rows of train and test, and of valid if lists for it exist."""

    def _published(self, train: Rows) -> np.ndarray:
        """Which rows of train belong to the published validation classes, bool [N]."""
        raise ValueError(
            f"{self.name} has no published validation classes; say how many to hold out, such as "
            "dataset.params.valid_share=0.15"
        )

    @cached_property
    def _class_names(self) -> dict[int, str]:
        """Class -> name of its folder; empty unless classes and folder names correspond 1 to 1."""
        names: dict[int, str] = {}
        for rows in self.parts.values():
            for label, file in zip(rows.labels.tolist(), rows.files, strict=True):
                folder = os.path.basename(os.path.dirname(file))
                if names.setdefault(label, folder) != folder:
                    return {}
        return names if len(set(names.values())) == len(names) else {}

    def _class_name(self, label: int) -> str | None:
        return self._class_names.get(label)

    def _rows_of(self, name: str) -> Rows:
        if name == "valid" and self.validation == "none":
            raise ValueError(
                "dataset.params.validation=none leaves no images to choose the epoch by: add "
                "mode.select=test, or hold some out with dataset.params.validation=by_class"
            )
        return super()._rows_of(name)

    def _read_rows(self) -> dict[str, Rows]:
        parts = self._read_parts()
        if self.validation != "by_class" or self.valid_share is not None:
            parts = self._split_train(_train_and_valid(parts), parts["test"])
        elif "valid" not in parts:
            held_out = self._published(parts["train"])
            parts = _with_held_out(parts["train"], held_out, parts["test"])
        return parts

    def check_parts(self, parts: dict[str, Rows]) -> None:
        """See `ImageFileDataset`."""
        _refuse_shared_classes(parts, between_all=self.validation == "by_class")

    def _split_train(self, train: Rows, test: Rows) -> dict[str, Rows]:
        """Splits train into train and valid as `validation` says, independent of its order."""
        if self.validation == "none":
            return {"train": train, "test": test}
        train = _sorted(train)
        by_class = self.validation == "by_class"
        held_out = hold_out(train, self.valid_share, by_class=by_class, seed=self.valid_seed)
        return _with_held_out(train, held_out, test)


def _train_and_valid(parts: dict[str, Rows]) -> Rows:
    """The rows of train together with those of valid, if it has rows."""
    train, valid = parts["train"], parts.get("valid")
    if valid is None:
        return train
    labels = np.concatenate([train.labels, valid.labels])
    return _sorted(Rows(train.files + valid.files, labels, train.root))


def _sorted(rows: Rows) -> Rows:
    """Rows sorted by class, then by file name."""
    key = [
        (label, os.path.basename(file), file)
        for label, file in zip(rows.labels.tolist(), rows.files, strict=True)
    ]
    order = sorted(range(len(key)), key=key.__getitem__)
    return Rows([rows.files[i] for i in order], rows.labels[order], rows.root)


def _with_held_out(train: Rows, held_out: np.ndarray, test: Rows) -> dict[str, Rows]:
    return {"train": train.chosen(~held_out), "valid": train.chosen(held_out), "test": test}


def _refuse_shared_classes(parts: dict[str, Rows], *, between_all: bool) -> None:
    """Refuses classes that are in test and another split.

    Args:
        parts: rows of each split.
        between_all: whether train and valid may not share classes either.

    Raises:
        ValueError: naming the splits and a class.
    """
    for one, other in combinations(parts, 2):
        shared = np.intersect1d(parts[one].labels, parts[other].labels)
        if len(shared) and (between_all or "test" in (one, other)):
            raise ValueError(
                f"{one} and {other} share {len(shared)} classes, such as {shared[0]}; here test "
                "classes must not occur in other splits. For a data set whose splits share classes "
                "use dataset=csv or dataset=image_list"
            )
