"""A split of feature vectors, in memory or mapped from a file; batches are taken whole."""

from typing import Self, Unpack

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.datasets.base import Split, SplitFields


class VectorSplit(Split):
    """Feature vectors [F] of other models; an item's `examples` is one of them, float32 [F].

    Args:
        vectors: [M, F] of any type of number, M >= N; may be mapped from a file, of which only the
            rows of a batch are read.
        rows: int64 [N], the row of `vectors` of each item.
        labels: see `Split`.
        **fields: see `Split`.
    """

    unit = "vectors"
    in_memory = True

    def __init__(
        self,
        vectors: np.ndarray,
        rows: np.ndarray,
        labels: Tensor,
        **fields: Unpack[SplitFields],
    ) -> None:
        super().__init__(labels, **fields)
        self.vectors = vectors
        self.rows = rows
        self._on_device: Tensor | None = None  # float32 [N, F], after `to`

    @property
    def n_bytes(self) -> int:
        """Size of the split's vectors as float32, in bytes."""
        return 4 * len(self.rows) * self.vectors.shape[1]

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """See `Split.batch`; `examples` are float32 [B, F]. Nothing is random."""
        indices = indices.to(self.device, non_blocking=True)
        return self._batch_of(self._taken(indices), indices)

    def _taken(self, indices: Tensor) -> Tensor:
        if self._on_device is not None:
            return self._on_device.index_select(0, indices)
        taken = np.take(self.vectors, self.rows[indices.numpy()], axis=0)
        return torch.from_numpy(np.ascontiguousarray(taken, dtype=np.float32))

    def example(self, index: int) -> Tensor:
        """One vector, float32 [F]."""
        return self._taken(torch.tensor([index], device=self.device))[0]

    def to(self, device: torch.device) -> Self:
        """A copy with the vectors and labels of this split on `device`."""
        moved = self._moved(device)
        everything = torch.arange(len(self), device=self.device)
        moved._on_device = self._taken(everything).to(device)
        return moved

    def with_views(self, views: int) -> Self:
        """The split itself for one view.

        Raises:
            ValueError: more were asked for; vectors cannot be augmented as images are.
        """
        if views != 1:
            raise ValueError(
                f"dataset.params.views={views}: feature vectors are not augmented, so there is one "
                "view of each; methods that mix or augment images, such as method=fsgl, need images"
            )
        return super().with_views(views)
