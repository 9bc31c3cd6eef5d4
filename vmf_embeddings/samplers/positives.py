"""Positives: other images of the class of an anchor."""

import numpy as np

from vmf_embeddings.samplers.classes import Classes
from vmf_embeddings.samplers.episodic import draw_distinct


def draw_numbers(rng: np.random.Generator, sizes: np.ndarray, n: int) -> np.ndarray:
    """For each row r, n random numbers below sizes[r]; distinct if sizes[r] >= n.

    Otherwise all numbers below sizes[r] occur, followed by random ones.

    Args:
        rng: source of randomness.
        sizes: integers [R], >= 1.
        n: numbers per row, >= 1.

    Returns:
        int64 [R, n].
    """
    numbers = draw_distinct(rng, sizes, n)
    missing = numbers < 0
    numbers[missing] = rng.integers(np.broadcast_to(sizes[:, None], numbers.shape)[missing])
    return numbers


class Positives:
    """Draws positives of given anchors.

    Args:
        labels: integer classes [N] in 0..C-1, none of them empty.
    """

    def __init__(self, labels: np.ndarray) -> None:
        self.labels, self.classes = labels, Classes(labels)
        order = np.argsort(labels, kind="stable")
        counts = self.classes.counts
        self._place = np.empty(len(labels), dtype=np.int64)  # number of an image within its class
        self._place[order] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)

    def draw(self, rng: np.random.Generator, images: np.ndarray, n: int) -> np.ndarray:
        """For each anchor, n other images of its class; the anchor itself if there is no other.

        Args:
            rng: source of randomness.
            images: indices [R] of the anchors.
            n: positives per anchor, >= 0; they are distinct if the class has enough images.

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
