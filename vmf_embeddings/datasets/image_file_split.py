"""A split of image files, which are decoded whenever they are accessed."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.datasets.base import Split
from vmf_embeddings.datasets.image_reading import ImageReader
from vmf_embeddings.untrusted.image_pixels import WHITE
from vmf_embeddings.untrusted.refused import Refused


class ImageFileSplit(Split):
    """Image files, decoded with Pillow whenever they are accessed."""

    def __init__(
        self,
        labels: Tensor,
        *,
        paths: Sequence[str],
        transform: Callable[[Any], Tensor],
        identity: str,
        n_classes: int,
        open_set: bool,
        original_labels: Tensor,
        class_names: Sequence[str] | None = None,
        is_query: Tensor | None = None,
        is_gallery: Tensor | None = None,
        reader: ImageReader | None = None,
    ) -> None:
        super().__init__(
            labels,
            identity=identity,
            n_classes=n_classes,
            open_set=open_set,
            original_labels=original_labels,
            class_names=class_names,
            paths=paths,
            is_query=is_query,
            is_gallery=is_gallery,
        )
        self.transform = transform
        self.reader = reader or ImageReader(WHITE)

    def example(self, index: int) -> Tensor:
        """One image, float32 [3, H, W], or several views of it, [views, 3, H, W]; decoded once.

        Raises:
            Refused: naming the file, where it cannot be decoded or resized.
        """
        path = self.paths[index]
        with self.reader.image(path) as image:
            try:
                views = [self.transform(image) for _ in range(self.views)]
            except Refused as error:
                raise Refused(f"{path}: {error}") from error
        return views[0] if self.views == 1 else torch.stack(views)
