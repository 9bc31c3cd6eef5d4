"""Episodes of a few classes with a few images of each (Scott et al. 2021, https://arxiv.org/abs/2103.15718)."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.samplers.base import BatchSampler, check_positive

EPISODES_PER_DRAW = 64  # drawn by one call: less overhead, still little memory


class EpisodicSampler(BatchSampler):
    """Some classes per batch, some images of each, both drawn without replacement.

    An episode has min(n_classes, all) classes and of each min(n_samples, class size) images.
    Images of a class are adjacent in the batch; the order of classes is random.

    Args:
        labels: integer classes [N], any values.
        n_episodes: batches per epoch, >= 1.
        n_classes: classes per episode, >= 1.
        n_samples: images per class, >= 1.
        seed: >= 0.
    """

    balances = True

    def __init__(
        self, labels: Tensor, *, n_episodes: int, n_classes: int, n_samples: int, seed: int
    ) -> None:
        super().__init__(labels, seed=seed)
        check_positive(n_episodes=n_episodes, n_classes=n_classes, n_samples=n_samples)
        self.n_episodes = n_episodes
        self.n_samples = n_samples
        # Images sorted by class: class c owns members[starts[c] : starts[c] + sizes[c]].
        self.members = np.argsort(self.labels, kind="stable")
        ordered = self.labels[self.members]
        self.starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        self.sizes = np.diff(self.starts, append=len(ordered))
        self.n_classes = min(n_classes, len(self.sizes))

    def __len__(self) -> int:
        return self.n_episodes

    def __iter__(self) -> Iterator[Tensor]:
        rng = self.generator()
        for first in range(0, self.n_episodes, EPISODES_PER_DRAW):
            yield from self._episodes(rng, min(EPISODES_PER_DRAW, self.n_episodes - first))

    def _episodes(self, rng: np.random.Generator, count: int) -> Iterator[Tensor]:
        classes = draw_distinct(rng, np.full(count, len(self.sizes)), self.n_classes)
        sizes = self.sizes[classes]
        picks = draw_distinct(rng, sizes.ravel(), self.n_samples).reshape(count, self.n_classes, -1)
        exists = picks >= 0
        images = self.members[np.where(exists, self.starts[classes][:, :, None] + picks, 0)]
        for episode in range(count):
            yield torch.from_numpy(images[episode][exists[episode]])


def draw_distinct(rng: np.random.Generator, sizes: np.ndarray, k: int) -> np.ndarray:
    """For each row r, min(k, sizes[r]) distinct random numbers below sizes[r].

    All sets and all orders are equally likely. Floyd's algorithm (Bentley & Floyd 1987,
    https://doi.org/10.1145/30401.315746) for all rows at once, then a shuffle; O(rows k^2), for any
    sizes.

    Args:
        rng: source of randomness.
        sizes: integers [R], >= 1.
        k: numbers per row, >= 1.

    Returns:
        int64 [R, k]; -1 at the end of rows with sizes[r] < k.
    """
    picks = np.empty((len(sizes), k), dtype=np.int64)
    low = np.maximum(sizes - k, 0)
    for j in range(k):
        top = low + j
        drawn = rng.integers(0, top + 1)
        is_taken = (picks[:, :j] == drawn[:, None]).any(axis=1)
        picks[:, j] = np.where(is_taken, top, drawn)
    # A row with sizes[r] < k has all its numbers after sizes[r] steps; later ones are invalid.
    beyond = np.arange(k) >= sizes[:, None]
    keys = rng.random(picks.shape)
    keys[beyond] = 2.0
    picks[beyond] = -1
    return np.take_along_axis(picks, np.argsort(keys, axis=1), axis=1)
