"""The images of each class, for samplers that draw a class first and then an image of it."""

import numpy as np


class Classes:
    """Maps (class, number of an image within its class) to the index of the image.

    Args:
        labels: integer classes [N] in 0..C-1, each with at least one image.
        images: index [N] of the image of each label; None = 0..N-1.

    Attributes:
        counts: images per class [C], >= 1.

    Raises:
        ValueError: a class in 0..C-1 has no image.
    """

    def __init__(self, labels: np.ndarray, images: np.ndarray | None = None) -> None:
        if labels.min() < 0:
            raise ValueError(f"expected labels in 0..C-1, got {labels.min()}")
        self.counts = np.bincount(labels)
        empty = np.flatnonzero(self.counts == 0)
        if len(empty):
            raise ValueError(
                f"{len(empty)} of {len(self.counts)} classes have no training image (first: class "
                f"{empty[0]}), and this sampler draws a class before an image. Use a split in "
                "which every class has an image, or sampler=random."
            )
        order = np.argsort(labels, kind="stable")
        self._members = order if images is None else images[order]
        self._starts = np.cumsum(self.counts) - self.counts

    def __len__(self) -> int:
        return len(self.counts)

    def image(self, classes: np.ndarray, number: np.ndarray) -> np.ndarray:
        """Indices of images by class and number within the class, from 0; shapes broadcast."""
        return self._members[self._starts[classes] + number]
