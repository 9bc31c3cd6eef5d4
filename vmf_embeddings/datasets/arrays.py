"""Data sets in memory: all images in one uint8 tensor, a batch taken by one `index_select`."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Self, Unpack

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.datasets.augment import Augmentation
from vmf_embeddings.datasets.base import SPLIT_SEED, Dataset, Split, SplitFields, identity_of
from vmf_embeddings.datasets.decoded import MODES
from vmf_embeddings.datasets.image_transform import ImageTransform
from vmf_embeddings.datasets.normalisation import is_identity, normalise, scale_and_shift

VALID_FRACTION = 0.15


def stratified_holdout(labels: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions to keep and positions to hold out, each class in proportion.

    scikit-learn's `train_test_split(test_size=fraction, random_state=1234, stratify=labels)` with
    its order of the positions. Published numbers on MNIST and CIFAR were measured on this split.

    Args:
        labels: integers [N].
        fraction: of all images, to hold out, in (0, 1).

    Returns:
        Kept and held-out positions, int64.
    """
    from sklearn.model_selection import train_test_split

    kept, held_out = train_test_split(
        np.arange(len(labels)), test_size=fraction, random_state=SPLIT_SEED, stratify=labels
    )
    return kept, held_out


class ArraySplit(Split):
    """Images as uint8 [N, channels, H, W]; whole batches are normalised and augmented at once.

    Args:
        images: [N, channels, H, W].
        labels: see `Split`.
        mean: per channel, of values in [0, 1]; None = 0.
        std: per channel; None = 1.
        augmentation: of batches; None = none.
        examples_to_save: see `Split`.
        **fields: see `Split`.
    """

    in_memory = True

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        augmentation: Augmentation | None = None,
        examples_to_save: bool = False,
        **fields: Unpack[SplitFields],
    ) -> None:
        super().__init__(labels, **fields)
        if images.dtype != torch.uint8 or images.ndim != 4 or len(images) != len(labels):
            raise ValueError(
                f"expected uint8 images [{len(labels)}, channels, H, W], "
                f"got {images.dtype} {tuple(images.shape)}"
            )
        self.images = images
        self.augmentation = augmentation
        self.examples_to_save = examples_to_save
        self.raw_images = None if examples_to_save else images
        channels = images.shape[1]
        mean = [0.0] * channels if mean is None else mean
        std = [1.0] * channels if std is None else std
        self._scale, self._shift = scale_and_shift(mean, std)
        self._unnormalised = is_identity(mean, std)

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """See `Split.batch`."""
        indices = indices.to(self.device, non_blocking=True)
        images = self.images.index_select(0, indices)  # 8 times as fast as self.images[indices]
        views = [self._view(images, generator) for _ in range(self.views)]
        examples = views[0] if self.views == 1 else torch.stack(views, 1)
        return self._batch_of(examples, indices)

    def decoded(self, index: int) -> AbstractContextManager[Tensor]:
        """See `Split`: uint8 [channels, H, W]."""
        return nullcontext(self.images[index].cpu())

    @property
    def n_bytes(self) -> int:
        """Size of all images in memory, in bytes."""
        return self.images.nbytes

    def to(self, device: torch.device) -> Self:
        """A copy with images and labels on `device`, where batches are then made and augmented."""
        return self._moved(device, "images", "_scale", "_shift")

    def example(self, index: int) -> Tensor:
        """See `Split.example`; augmentation uses torch's default generator."""
        return self.batch(torch.tensor([index]))["examples"][0]

    def _view(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        if self.augmentation is None:
            return self._normalised(images)
        augmented = self.augmentation.before_normalising(images, generator)
        return self.augmentation.after_normalising(self._normalised(augmented), generator)

    def _normalised(self, images: Tensor) -> Tensor:
        if self._unnormalised:
            return images.float().div_(255.0)  # a division as in 2021, so that all bits are equal
        return normalise(images, self._scale, self._shift)


class ArrayDataset(Dataset):
    """Base class of data sets in memory; 15% of their official training part becomes valid.

    The fraction is taken from every class (stratified).

    Attributes:
        mean: per channel, of values in [0, 1]; None = 0.
        std: per channel; None = 1.
        augmentation: of training batches; None = none.
        examples_to_save: see `Split`.
        all_class_names: name of every original label; None = classes have no names.
    """

    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    augmentation: Augmentation | None = None
    examples_to_save: bool = True
    all_class_names: Sequence[str] | None = None

    @property
    def image_transform(self) -> ImageTransform | None:
        """See `Dataset`; None where `image_shape` has neither one channel nor three."""
        channels, height, width = self.image_shape
        if channels not in MODES:
            return None
        mean = [0.0] * channels if self.mean is None else self.mean
        std = [1.0] * channels if self.std is None else self.std
        return ImageTransform(
            size=(height, width),
            channels=channels,
            mean=tuple(map(float, mean)),
            std=tuple(map(float, std)),
            fused=not is_identity(mean, std),
        )

    @abstractmethod
    def _read(self, part: str) -> tuple[Tensor, np.ndarray]:
        """Images uint8 [N, channels, H, W], labels int64 [N] of the official "train" or "test"."""

    def pool(self, *, augment: bool = False) -> Split:
        """The whole official training part, in the order of its files."""
        key = ("pool", augment)
        if key not in self._splits:
            self._splits[key] = self._make_split("pool", augment)
        return self._splits[key]

    def _selection(self, name: str) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """Images and labels of the official part that contains split `name`, and its positions."""
        images, labels = self._read("test" if name == "test" else "train")
        if name in ("test", "pool"):
            return images, labels, np.arange(len(labels))
        train, valid = stratified_holdout(labels, VALID_FRACTION)
        return images, labels, train if name == "train" else valid

    def _make_split(self, name: str, augment: bool) -> Split:
        other = self._splits.get((name, not augment))
        if isinstance(other, ArraySplit):
            return self._split_of(other.images, other.original_labels, other.identity, augment)
        images, labels, chosen = self._selection(name)
        identity = identity_of([self.name, name, chosen, labels[chosen]])
        picked = torch.from_numpy(chosen)
        return self._split_of(images[picked], torch.from_numpy(labels)[picked], identity, augment)

    def _split_of(
        self, images: Tensor, original_labels: Tensor, identity: str, augment: bool
    ) -> ArraySplit:
        classes, labels = torch.unique(original_labels, return_inverse=True)
        names = self.all_class_names
        return ArraySplit(
            images,
            labels,
            identity=identity,
            n_classes=len(classes),
            open_set=self.open_set,
            original_labels=original_labels,
            class_names=None if names is None else [names[c] for c in classes.tolist()],
            mean=self.mean,
            std=self.std,
            augmentation=self.augmentation if augment else None,
            examples_to_save=self.examples_to_save,
        )
