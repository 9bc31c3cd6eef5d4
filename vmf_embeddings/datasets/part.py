"""Some images of a split as a split of their own, without a copy of them."""

from typing import Self

import torch
from torch import Tensor

from vmf_embeddings.datasets.base import Split, identity_of


class Part(Split):
    """The images of `whole` at `positions`, in that order; classes keep their numbers.

    Args:
        whole: a split of any kind.
        positions: int64 [n], without repetition.
    """

    def __init__(self, whole: Split, positions: Tensor) -> None:
        labels = whole.labels.cpu()[positions]
        rows = positions.tolist()

        def flags(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[positions]

        super().__init__(
            labels,
            identity=identity_of([whole.identity, positions.numpy(), labels.numpy()]),
            n_classes=whole.n_classes,
            open_set=whole.open_set,
            original_labels=whole.original_labels.cpu()[positions],
            class_names=whole.class_names,
            paths=None if whole.paths is None else [whole.paths[i] for i in rows],
            is_query=flags(whole.is_query),
            is_gallery=flags(whole.is_gallery),
        )
        self.whole = whole
        self.positions = positions
        self.in_memory = whole.in_memory
        self.device = whole.device
        self.examples_to_save = whole.examples_to_save
        self._rows = rows

    @property
    def pictures(self) -> Tensor | None:
        """See `Split`."""
        return None if self.whole.pictures is None else self.whole.pictures[self.positions]

    @property
    def n_bytes(self) -> int:
        """What the whole's pictures take in memory."""
        return self.whole.n_bytes

    def example(self, index: int) -> Tensor:
        """See `Split.example`."""
        return self.whole.example(self._rows[index])

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """See `Split.batch`."""
        places = self.positions.index_select(0, indices.to(self.device, non_blocking=True))
        return self.whole.batch(places, generator)

    def to(self, device: torch.device) -> Self:
        """The same images on `device`; with them goes all of the whole."""
        return self._over(self.whole.to(device))

    def with_views(self, views: int) -> Self:
        """See `Split.with_views`."""
        return self._over(self.whole.with_views(views))

    def _over(self, whole: Split) -> Self:
        part = super().with_views(whole.views)
        part.whole, part.device = whole, whole.device
        part.positions = self.positions.to(whole.device)
        return part
