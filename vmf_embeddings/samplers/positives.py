"""Several images of one class."""

import numpy as np

from vmf_embeddings.samplers.classes import Classes
from vmf_embeddings.samplers.episodic import draw_distinct


def draw_numbers(rng: np.random.Generator, sizes: np.ndarray, n: int) -> np.ndarray:
    """For each row r, n numbers below sizes[r]: different ones while there are any, then any.

    Args:
        rng: source of randomness.
        sizes: integers [R], >= 1.
        n: numbers wanted per row, >= 1.

    Returns:
        int64 [R, n].
    """
    numbers = draw_distinct(rng, sizes, n)
    missing = numbers < 0
    numbers[missing] = rng.integers(np.broadcast_to(sizes[:, None], numbers.shape)[missing])
    return numbers


class Positives:
    """Draws other images of the classes of given images.

    Args:
        labels: integer classes [N] in 0..C-1, none of them empty.
    """

    def __init__(self, labels: np.ndarray) -> None:
        self.labels, self.classes = labels, Classes(labels)
        order = np.argsort(labels, kind="stable")
        counts = self.classes.counts
        self._place = np.empty(len(labels), dtype=np.int64)  # of an image in its class
        self._place[order] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)

    def draw(self, rng: np.random.Generator, images: np.ndarray, n: int) -> np.ndarray:
        """For each image, n others of its class; the image itself where it is the only one.

        Args:
            rng: source of randomness.
            images: indices [R].
            n: others wanted, >= 0; one comes twice only where the class has fewer.

        Returns:
            Indices int64 [R, n].
        """
        if n == 0:
            return np.empty((len(images), 0), dtype=np.int64)
        classes, place = self.labels[images], self._place[images]
        counts = self.classes.counts[classes]
        numbers = draw_numbers(rng, np.maximum(counts - 1, 1), n)
        numbers += (numbers >= place[:, None]) & (counts > 1)[:, None]
        return self.classes.image(classes[:, None], numbers)
