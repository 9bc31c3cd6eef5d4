"""A split of image files, which are decoded whenever they are accessed."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.datasets.base import Split, SplitFields
from vmf_embeddings.datasets.image_reading import ImageReader
from vmf_embeddings.datasets.texts import Texts
from vmf_embeddings.untrusted.image_pixels import WHITE
from vmf_embeddings.untrusted.refused import Refused

if TYPE_CHECKING:
    from PIL.Image import Image


class ImageFileSplit(Split):
    """Image files, decoded with Pillow whenever they are accessed.

    Args:
        labels: see `Split`.
        transform: from a decoded image to the network's input.
        reader: decodes files; None = on a white background.
        **fields: see `Split`, with `paths`.
    """

    def __init__(
        self,
        labels: Tensor,
        *,
        transform: Callable[[Any], Tensor],
        reader: ImageReader | None = None,
        **fields: Unpack[SplitFields],
    ) -> None:
        super().__init__(labels, **fields)
        self.transform = transform
        self.reader = reader or ImageReader(WHITE)

    @property
    def blocks(self) -> np.ndarray | None:
        """See `Split`."""
        return self.paths.blocks if isinstance(self.paths, Texts) else None

    def decoded(self, index: int) -> AbstractContextManager["Image"]:
        """See `Split`."""
        return self.reader.image(self.paths[index])

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
