"""The base classes of data sets (`Dataset`) and of their immutable splits (`Split`)."""

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Required, Self, TypedDict

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.datasets.texts import Texts

if TYPE_CHECKING:
    from vmf_embeddings.datasets.image_transform import ImageTransform

SPLIT_NAMES = ("train", "valid", "test")
# Seed of every random split. It does not depend on the run's seed, so that runs with different
# seeds train, validate and test on the same images.
SPLIT_SEED = 1234
_BLOCK = 2**20  # numbers that are hashed together


def identity_of(parts: Sequence[str | np.ndarray | Texts]) -> str:
    """Hash of the content of a split, the same on every machine.

    Args:
        parts: texts and integer arrays, in order; `Texts` stand for one text, in which they are
            joined by newlines. Each is hashed together with its length, so that
            ("ab", "c") and ("a", "bc") differ.

    Returns:
        The sha256 in hexadecimal, 64 characters.
    """
    digest = hashlib.sha256()
    for part in parts:
        size, pieces = _bytes_of(part)
        digest.update(size.to_bytes(8, "little"))
        for piece in pieces:
            digest.update(piece)
    return digest.hexdigest()


def _bytes_of(part: str | np.ndarray | Texts) -> tuple[int, Iterable[bytes]]:
    """The number of bytes that stand for a part in a hash, and these bytes in pieces."""
    if isinstance(part, Texts):
        return part.n_bytes, part.joined()
    if isinstance(part, str):
        data = part.encode()
        return len(data), (data,)
    numbers = part.reshape(-1)
    firsts = range(0, len(numbers), _BLOCK)
    return 8 * len(numbers), (
        numbers[first : first + _BLOCK].astype("<i8").tobytes() for first in firsts
    )


class SplitFields(TypedDict, total=False):
    """The keyword arguments of `Split`, which its subclasses hand on; see its attributes."""

    identity: Required[str]
    n_classes: Required[int]
    open_set: bool
    original_labels: Tensor | None
    class_names: Sequence[str] | None
    paths: Sequence[str] | None
    is_query: Tensor | None
    is_gallery: Tensor | None


class Split(torch.utils.data.Dataset, ABC):
    """Images of one split with their class labels; immutable after construction.

    Attributes:
        labels: int64 [N] in 0..C-1.
        original_labels: int64 [N], class numbers that are unique over all splits of the data set.
        n_classes: C.
        class_counts: int64 [C], images per class; zero where a closed-set split lacks a class of
            train.
        identity: hash of the split's list of images and their classes.
        open_set: whether items also have the key `original_ids`.
        class_names: C names, or None.
        paths: N absolute image paths, or None where images have no file of their own.
        is_query: bool [N], which images are queries of the retrieval, or None if all are.
        is_gallery: bool [N], which images are searched; None exactly where `is_query` is None.
        in_memory: whether `batch` is supported.
        device: device of the batches that `batch` returns.
        examples_to_save: whether images are small enough for the network's inputs to be saved in
            the embedding file.
        raw_images: uint8 [N, channels, H, W] before normalisation, saved in the embedding file for
            figures; None where images are files, or where `examples_to_save` is True.
        views: V, augmented versions of each image in an item; V > 1 adds a dimension, see
            `with_views`.
        unit: what items are called in messages.
        clean: of a `corruption.CorruptedSplit` the images that were corrupted; None elsewhere.
    """

    clean: "Split | None" = None
    unit: str = "images"
    in_memory: bool = False
    views: int = 1
    device: torch.device = torch.device("cpu")
    examples_to_save: bool = False
    raw_images: Tensor | None = None

    def __init__(
        self,
        labels: Tensor,
        *,
        identity: str,
        n_classes: int,
        open_set: bool = False,
        original_labels: Tensor | None = None,
        class_names: Sequence[str] | None = None,
        paths: Sequence[str] | None = None,
        is_query: Tensor | None = None,
        is_gallery: Tensor | None = None,
    ) -> None:
        if labels.numel() == 0:
            raise ValueError("a split holds no images; expected at least one")
        self.labels = labels
        self.original_labels = labels if original_labels is None else original_labels
        self.n_classes = n_classes
        self.class_counts = torch.bincount(labels, minlength=n_classes)
        self.identity = identity
        self.open_set = open_set
        self.class_names = None if class_names is None else list(class_names)
        self.paths = list(paths) if isinstance(paths, tuple) else paths
        self.is_query = is_query
        self.is_gallery = is_gallery
        # arrays: reading one integer out of a tensor costs a microsecond per item, and the counts
        # of references in lists would make every worker process copy them
        self._ids = self.labels.cpu().numpy()
        self._original_ids = self.original_labels.cpu().numpy()

    @property
    def blocks(self) -> "np.ndarray | None":
        """In which file each image lies, int [N], where a file holds many, as a tar; else None."""
        return None

    def __len__(self) -> int:
        return len(self._ids)

    def decoded(self, index: int) -> AbstractContextManager[Any]:
        """One image as `ImageTransform` takes it, before that; for the length of a block.

        Raises:
            TypeError: items are no images.
        """
        raise TypeError(f"{type(self).__name__} holds no images")

    @abstractmethod
    def example(self, index: int) -> Tensor:
        """The network's input for one image, float32 [channels, H, W]; [V, …] with V > 1 views.

        Of a data set of feature vectors it is one of them, [F].
        """

    def with_views(self, views: int) -> Self:
        """A copy whose items hold V independently augmented versions of their image.

        Args:
            views: V >= 1. With V > 1 an item's `examples` are [V, channels, H, W], and a batch's
                [B, V, channels, H, W]; with V = 1 there is no such dimension.
        """
        copied = copy.copy(self)
        copied.views = views
        return copied

    def __getitem__(self, index: int) -> dict[str, Tensor | int]:
        item: dict[str, Tensor | int] = {
            "examples": self.example(index),
            "ids": int(self._ids[index]),
        }
        if self.open_set:
            item["original_ids"] = int(self._original_ids[index])
        return item

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """A whole batch at once, for splits that are held in memory.

        Args:
            indices: int64 [B], on any device.
            generator: source of the augmentation's randomness, on `device`; torch's default one if
                None.

        Returns, on `device`:
            `examples` float32 [B, channels, H, W], `ids` int64 [B] and, for open sets,
            `original_ids` int64 [B].

        Raises:
            TypeError: the split's images are files, which are read by a DataLoader instead.
        """
        raise TypeError(f"{type(self).__name__} reads files: use a DataLoader instead of batch()")

    def _batch_of(self, examples: Tensor, indices: Tensor) -> dict[str, Tensor]:
        """What `batch` returns for `examples` of the items `indices` [B], both on `device`."""
        batch = {"examples": examples, "ids": self.labels.index_select(0, indices)}
        if self.open_set:
            batch["original_ids"] = self.original_labels.index_select(0, indices)
        return batch

    def _moved(self, device: torch.device, *tensors: str) -> Self:
        """A copy with the labels, and the attributes named, on `device`.

        `class_counts` and other attributes that are not part of a batch stay on their device.
        """
        moved = copy.copy(self)
        for name in ("labels", "original_labels", *tensors):
            setattr(moved, name, getattr(self, name).to(device))
        moved.device = moved.labels.device
        return moved


class Dataset(ABC):
    """A source of images in three splits; nothing is read before `check` or `split` is called.

    Attributes:
        name: prefix of the names of embedding files.
        open_set: whether the classes of test (and mostly of valid) do not occur in train, so that
            they are evaluated by retrieval instead of classification.
        image_shape: (channels, H, W) of an item's `examples`, where these are images.
        margin_warmup_epochs: ArcFace's margin is 0 before this epoch, >= 0.
        views: augmented versions of each training image, see `Split.with_views`.
        standardize: whether the network is to subtract the mean of the training inputs and to
            divide by their standard deviation, component by component; for feature vectors.
    """

    name: str
    open_set: bool = False
    views: int = 1
    standardize: bool = False
    image_shape: tuple[int, int, int]

    def __init__(self, *, margin_warmup_epochs: int) -> None:
        if margin_warmup_epochs < 0:
            raise ValueError(f"margin_warmup_epochs must be >= 0, got {margin_warmup_epochs}")
        self.margin_warmup_epochs = margin_warmup_epochs
        self._splits: dict[tuple[str, bool], Split] = {}

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Shape of an item's `examples`: (channels, H, W) of images, or (F,) of feature vectors."""
        return tuple(self.image_shape)

    @property
    def image_transform(self) -> "ImageTransform | None":
        """How one decoded image becomes an item's `examples` at evaluation.

        None where a data set does not define it; a run that was trained on it then embeds the
        images of this data set only.
        """
        return None

    @property
    def class_names(self) -> list[str] | None:
        """Names of the training classes 0..C-1, or None; reads the training split."""
        return self.split("train").class_names

    @abstractmethod
    def check(self) -> None:
        """Checks that all files exist and all lists are well-formed, before work starts.

        Raises:
            FileNotFoundError: naming the path that was expected and what to type.
            ValueError: a list or table is malformed.
        """

    @abstractmethod
    def _make_split(self, name: str, augment: bool) -> Split: ...

    def split(self, name: str, *, augment: bool = False) -> Split:
        """One of the three splits; repeated calls return the same object.

        Args:
            name: "train", "valid" or "test".
            augment: whether images get the data set's random training transform.
        """
        if name not in SPLIT_NAMES:
            raise ValueError(f"unknown split {name!r}; known: {', '.join(SPLIT_NAMES)}")
        key = (name, augment)
        if key not in self._splits:
            split = self._make_split(name, augment)
            has_views = augment and name == "train" and self.views != 1
            self._splits[key] = split.with_views(self.views) if has_views else split
        return self._splits[key]

    def pool(self, *, augment: bool = False) -> Split:
        """All images that may be trained on: train, together with valid if that was split off it.

        Args:
            augment: as for `split`.
        """
        return self.split("train", augment=augment)


def check_views(views: int) -> int:
    """`views` itself.

    Raises:
        ValueError: it is not a whole number >= 1.
    """
    if type(views) is not int or views < 1:
        raise ValueError(f"dataset.params.views must be a whole number >= 1, got {views!r}")
    return views
