"""Some images of a split as a split of their own; the images are not copied."""

from contextlib import AbstractContextManager
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.datasets.base import Split, identity_of


class Subset(Split):
    """The images of `whole` at `positions`, in that order; class numbers do not change.

    Args:
        whole: any split.
        positions: int64 [n], all different, in 0..len(whole)-1.
    """

    def __init__(self, whole: Split, positions: Tensor) -> None:
        labels = whole.labels.cpu()[positions]
        rows = positions.tolist()

        def taken(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[positions]

        super().__init__(
            labels,
            identity=identity_of([whole.identity, positions.numpy(), labels.numpy()]),
            n_classes=whole.n_classes,
            open_set=whole.open_set,
            original_labels=whole.original_labels.cpu()[positions],
            class_names=whole.class_names,
            paths=None if whole.paths is None else [whole.paths[i] for i in rows],
            is_query=taken(whole.is_query),
            is_gallery=taken(whole.is_gallery),
        )
        self.whole = whole
        self.positions = positions
        self.unit = whole.unit
        self.in_memory = whole.in_memory
        self.device = whole.device
        self.examples_to_save = whole.examples_to_save
        self._rows = rows

    @property
    def raw_images(self) -> Tensor | None:
        """See `Split`."""
        return None if self.whole.raw_images is None else self.whole.raw_images[self.positions]

    @property
    def n_bytes(self) -> int:
        """Size in memory of all images of `whole`, in bytes."""
        return self.whole.n_bytes

    @property
    def blocks(self) -> np.ndarray | None:
        """See `Split`."""
        blocks = self.whole.blocks
        return None if blocks is None else blocks[self._rows]

    def decoded(self, index: int) -> AbstractContextManager[Any]:
        """See `Split.decoded`."""
        return self.whole.decoded(self._rows[index])

    def example(self, index: int) -> Tensor:
        """See `Split.example`."""
        return self.whole.example(self._rows[index])

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """See `Split.batch`."""
        positions = self.positions.index_select(0, indices.to(self.device, non_blocking=True))
        return self.whole.batch(positions, generator)

    def to(self, device: torch.device) -> Self:
        """A copy on `device`, to which all images of `whole` are copied."""
        return self._with_whole(self.whole.to(device))

    def with_views(self, views: int) -> Self:
        """See `Split.with_views`."""
        return self._with_whole(self.whole.with_views(views))

    def _with_whole(self, whole: Split) -> Self:
        """A copy that takes its images from another version of `whole`."""
        subset = super().with_views(whole.views)
        subset.whole, subset.device = whole, whole.device
        subset.positions = self.positions.to(whole.device)
        return subset
