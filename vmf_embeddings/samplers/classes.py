"""The images of each class, for samplers that choose a class first."""

import numpy as np


class Classes:
    """Which images belong to which class.

    Args:
        labels: integer classes [N] in 0..C-1, each with at least one image.
        images: the indices [N] that the labels belong to; None = 0..N-1.

    Attributes:
        counts: [C] images per class, >= 1.

    Raises:
        ValueError: a class below the largest has no image: there is nothing to draw from.
    """

    def __init__(self, labels: np.ndarray, images: np.ndarray | None = None) -> None:
        if labels.min() < 0:
            raise ValueError(f"expected labels in 0..C-1, got {labels.min()}")
        self.counts = np.bincount(labels)
        empty = np.flatnonzero(self.counts == 0)
        if len(empty):
            raise ValueError(
                f"{len(empty)} of {len(self.counts)} classes have no training image (first: class "
                f"{empty[0]}), and this sampler draws a class before an image. Take a split that "
                "leaves every class an image, or sampler=random."
            )
        order = np.argsort(labels, kind="stable")
        self._members = order if images is None else images[order]
        self._starts = np.cumsum(self.counts) - self.counts

    def __len__(self) -> int:
        return len(self.counts)

    def image(self, classes: np.ndarray, number: np.ndarray) -> np.ndarray:
        """The image that is number `number` of its class, counted from 0; any equal shapes."""
        return self._members[self._starts[classes] + number]
