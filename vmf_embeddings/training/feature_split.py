"""A split whose items are features of its images, computed once with a frozen backbone."""

from typing import Self

import torch
from torch import Tensor

from vmf_embeddings.datasets.base import Split


class FeatureSplit(Split):
    """Features [N, F] of the images of a split, in its order; or V copies of them to draw from.

    Args:
        split: its labels, names and paths are those of the features.
        features: float32 [V, N, F], in memory or mapped from a file. With V > 1 they are features
            of V augmented versions of every image; each item is one of these at random.
    """

    in_memory = True

    def __init__(self, split: Split, features: Tensor) -> None:
        super().__init__(
            split.labels.cpu(),
            identity=split.identity,
            n_classes=split.n_classes,
            open_set=split.open_set,
            original_labels=split.original_labels.cpu(),
            class_names=split.class_names,
            paths=split.paths,
            is_query=split.is_query,
            is_gallery=split.is_gallery,
        )
        if features.ndim != 3 or features.shape[1] != len(split):
            raise ValueError(
                f"expected features [V, {len(split)}, F], got {list(features.shape)}: as many "
                "rows as images"
            )
        self.features = features
        self.views = split.views

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """See `Split.batch`; `examples` are [B, F], or [B, views, F] with several views."""
        indices = indices.to(self.device, non_blocking=True)
        n_copies, n_images, width = self.features.shape
        places = indices[:, None].expand(-1, self.views)
        if n_copies > 1:
            drawn = torch.randint(n_copies, places.shape, generator=generator, device=self.device)
            places = places + drawn * n_images
        rows = self.features.view(-1, width).index_select(0, places.reshape(-1))
        examples = rows if self.views == 1 else rows.view(len(indices), self.views, width)
        return self._batch_of(examples, indices)

    def example(self, index: int) -> Tensor:
        """Features [F] of one image; of V copies, one drawn with torch's default generator."""
        return self.batch(torch.tensor([index]))["examples"][0]

    @property
    def n_bytes(self) -> int:
        """Size of the features in bytes."""
        return self.features.nbytes

    def to(self, device: torch.device) -> Self:
        """A copy with features and labels on `device`."""
        return self._moved(device, "features")
