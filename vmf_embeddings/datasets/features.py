"""Feature vectors of other models, in a file, as a data set: no images, an item is [F]."""

import logging
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from vmf_embeddings.datasets.base import SPLIT_NAMES, Dataset, Split, identity_of
from vmf_embeddings.datasets.class_spelling import refuse_other_spellings
from vmf_embeddings.datasets.doubts import doubts
from vmf_embeddings.datasets.features_contents import row_digests, shared_vectors
from vmf_embeddings.datasets.features_files import FeatureFiles, Vectors, read_feature_files
from vmf_embeddings.datasets.features_split import VectorSplit
from vmf_embeddings.datasets.holdout import check_fraction, hold_out_classes, hold_out_images
from vmf_embeddings.datasets.split_classes import classes_of_split
from vmf_embeddings.datasets.wording import counted
from vmf_embeddings.untrusted.text import printable

log = logging.getLogger(__name__)


class Features(Dataset):
    """Vectors [N, F] with labels, from `.npz`, `.npy`, `.csv`, `.parquet` or `.safetensors`.

    Splits are those of the array or column `split`, of the files `train.*`, `valid.*`, `test.*` of
    a folder, or are held out. Equal vectors are held out together. Where there is train alone,
    validation vectors are held out of it, and there is no test.

    Args:
        dataset_path: the file or folder, relative to the current directory.
        embeddings: key or columns of the vectors; None = found by usual names, see
            `embeddings.opened.open_embeddings`.
        labels: key or column of the labels, or of an `.npy` their file; None = likewise.
        split: key or column of the splits; None = `split` or `splits`, if it is there; "none" =
            those are no splits, and vectors are held out.
        open_set: True for retrieval over new classes, False for classification. Where the file
            tells no splits apart it also decides how they are made: by whole classes (True) or by
            vectors of every class (False). None: True if test (or valid) shares no class with
            train, otherwise False.
        valid_share: fraction of train that becomes valid where there is none.
        test_share: fraction of everything that becomes test where the file tells no splits apart.
        standardize: whether the network subtracts the mean of the training vectors and divides by
            their standard deviation, component by component; needs arch=identity, linear or mlp,
            whose state keeps both.
        margin_warmup_epochs: see `Dataset`.
    """

    name = "features"

    def __init__(
        self,
        dataset_path: str | Path,
        *,
        embeddings: str | None,
        labels: str | None,
        split: str | None,
        open_set: bool | None,
        valid_share: float,
        test_share: float,
        standardize: bool,
        margin_warmup_epochs: int,
    ) -> None:
        super().__init__(margin_warmup_epochs=margin_warmup_epochs)
        check_fraction("valid_share", valid_share)
        check_fraction("test_share", test_share)
        self.dataset_path = Path(dataset_path).expanduser()
        self.keys = {"embeddings": embeddings, "labels": labels, "split": split}
        self.valid_share = valid_share
        self.test_share = test_share
        self.standardize = standardize
        self._open_set = open_set

    @cached_property
    def files(self) -> FeatureFiles:
        """What the file or folder holds, before anything is held out."""
        return read_feature_files(self.dataset_path, **self.keys)

    @property
    def example_shape(self) -> tuple[int, ...]:
        """(F,), the length of a vector."""
        return next(iter(self.files.parts.values())).vectors.shape[1:]

    @cached_property
    def open_set(self) -> bool:
        """Whether test classes do not occur in train."""
        if self._open_set is not None:
            return self._open_set
        parts = self.files.parts
        evaluated = parts.get("test", parts.get("valid"))
        if evaluated is None or "train" not in parts:
            return False
        return not np.isin(evaluated.labels, parts["train"].labels).any()

    @cached_property
    def _digests(self) -> dict[Path, np.ndarray]:
        """A hash of every vector of every file, uint64 [M, 2]; refuses those not finite."""
        files = {part.source: part.vectors for part in self.files.parts.values()}
        return {source: row_digests(vectors, str(source)) for source, vectors in files.items()}

    def _digests_of(self, part: Vectors) -> np.ndarray:
        return self._digests[part.source][part.rows]

    @cached_property
    def parts(self) -> dict[str, Vectors]:
        """The vectors of every split.

        Raises:
            ValueError: there are no training vectors, or too few to hold some out.
        """
        parts = dict(self.files.parts)
        if "" in parts:
            parts["train"], parts["test"] = self._held_out(parts.pop(""), self.test_share)
        if "train" not in parts:
            raise ValueError(
                f"{self.dataset_path} has no training vectors, only {' and '.join(parts)}"
            )
        if "valid" not in parts:
            parts["train"], parts["valid"] = self._held_out(parts["train"], self.valid_share)
        return {name: parts[name] for name in SPLIT_NAMES if name in parts}

    def _held_out(self, part: Vectors, fraction: float) -> tuple[Vectors, Vectors]:
        """What is left, and what is held out; equal vectors together."""
        digests = None if self.open_set else self._digests_of(part)[:, 0]
        try:
            if digests is None:
                held_out = hold_out_classes(part.labels, fraction)
            else:
                _, first, group = np.unique(digests, return_index=True, return_inverse=True)
                order = np.argsort(first)  # groups in the order of the file
                number = np.argsort(order)[group.reshape(-1)]
                held_out = hold_out_images(part.labels[first[order]], fraction)[number]
        except ValueError as error:
            message = str(error).replace("images", "vectors")
            raise ValueError(f"{self.dataset_path}: {message}") from error
        return part.chosen(~held_out), part.chosen(held_out)

    def name_of(self, label: int) -> str:
        """Name of an original class number, or the number as text."""
        names = self.files.class_names
        return str(label) if names is None else names[label]

    @property
    def summary(self) -> str:
        """What was found and taken for what, in one line."""
        splits = [
            f"{name} {counted(len(part.rows), 'vector')} of "
            f"{counted(len(np.unique(part.labels)), 'class')}{self._origin(name)}"
            for name, part in self.parts.items()
        ]
        task = "retrieval of classes that train lacks" if self.open_set else "classification"
        absent = [f"no {name} split" for name in SPLIT_NAMES if name not in self.parts]
        said = [", ".join(splits), *absent, f"{self.example_shape[0]} features", task]
        return f"{printable(str(self.dataset_path))}: {'; '.join(said)}"

    def _origin(self, name: str) -> str:
        if name in self.files.parts or name == "train":
            return ""
        return " (held out of train)" if "train" in self.files.parts else " (held out)"

    @property
    def classes_of_splits(self) -> dict[str, list[str]]:
        """Split -> names of its classes, or their numbers as text."""
        return {
            name: [self.name_of(label) for label in np.unique(part.labels).tolist()]
            for name, part in self.parts.items()
        }

    @property
    def shared(self) -> list[str]:
        """Sentences about equal vectors in two splits or under two labels."""
        return shared_vectors(
            {name: self._digests_of(part) for name, part in self.parts.items()},
            {name: part.rows for name, part in self.parts.items()},
            {name: part.labels for name, part in self.parts.items()},
            self.name_of,
        )

    def refuse_unusable(self) -> None:
        """Reads labels and splits, and every vector once: that all numbers are finite.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: a file cannot be used, or its splits do not go together.
        """
        for name, part in self.parts.items():
            self._classes(name, part)
        if self.files.class_names is not None:
            source, is_open = str(self.dataset_path), self._open_set is True
            refuse_other_spellings(self.classes_of_splits, source, is_open=is_open)
        _ = self._digests

    def check(self) -> None:
        """As `refuse_unusable`; equal vectors in two splits or under two labels are logged."""
        self.refuse_unusable()
        for note in self.files.notes:
            log.info(note)
        log.info(self.summary)
        for sentence in [*self.shared, *doubts(self.classes_of_splits, open_set=self.open_set)]:
            log.warning("%s: %s", self.dataset_path, sentence)

    def _part(self, name: str) -> Vectors:
        if name not in self.parts:
            raise ValueError(
                f"{self.dataset_path} has no {name} vectors; it has {', '.join(self.parts)}"
            )
        return self.parts[name]

    def _classes(self, name: str, part: Vectors) -> np.ndarray:
        """Original class numbers [C] of a split, of which its labels 0..C-1 are the positions."""
        own = self.open_set or name == "train"
        train = None if own else self._part("train").labels
        source, items = str(self.dataset_path), f"{name} vector"
        return classes_of_split(part.labels, train, source, items, self.name_of)

    def _make_split(self, name: str, augment: bool) -> Split:
        other = self._splits.get((name, not augment))
        return self._split_of(self._part(name), name) if other is None else other

    def pool(self, *, augment: bool = False) -> Split:
        """All vectors that may be trained on: train, and valid if that was held out of it."""
        if "valid" in self.files.parts:
            return self.split("train", augment=augment)
        parts = self.files.parts
        whole = parts["train"] if "train" in parts else parts[""]
        used = np.concatenate([self.parts[name].rows for name in ("train", "valid")])
        kept = np.isin(whole.rows, used)
        return self._split_of(whole.chosen(kept), "train")

    def _split_of(self, part: Vectors, name: str) -> VectorSplit:
        classes = self._classes(name, part)
        digests = self._digests_of(part).reshape(-1).view(np.int64)
        named = self.files.class_names is not None
        return VectorSplit(
            part.vectors,
            part.rows,
            torch.from_numpy(np.searchsorted(classes, part.labels)),
            identity=identity_of([self.name, name, digests, part.labels]),
            n_classes=len(classes),
            open_set=self.open_set,
            original_labels=torch.from_numpy(part.labels),
            class_names=[self.name_of(c) for c in classes.tolist()] if named else None,
            paths=None if part.paths is None else [str(path) for path in part.paths],
            is_query=None if part.is_query is None else torch.from_numpy(part.is_query),
            is_gallery=None if part.is_gallery is None else torch.from_numpy(part.is_gallery),
        )
