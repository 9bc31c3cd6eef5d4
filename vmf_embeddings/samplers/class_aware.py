"""Classes in turn, a few images of each.

The sampler of Kang et al. 2020, "Decoupling Representation and Classifier for Long-Tailed
Recognition", https://arxiv.org/abs/1910.09217, after Shen et al. 2016, https://arxiv.org/abs/1512.05830.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.samplers.base import BatchSampler, in_batches, n_batches, positive
from vmf_embeddings.samplers.classes import Classes

LENGTHS = ("floor", "reference_sampler")
DRAWN_TOGETHER = 1024  # numbers shuffled by one generator: shares the cost of making it


class ClassAwareSampler(BatchSampler):
    """Goes through a shuffled list of the classes, and of each through a shuffled list of images.

    Each class that comes gives `n_samples` images in a row. A list that is exhausted is shuffled
    again, so an image can come twice in a batch where its class is small. Both kinds of lists go on
    from one epoch to the next. Yet nothing is remembered: every class comes once in a pass over the
    classes, so the number of a pass tells how many images each class has given before.

    Args:
        labels: integer classes [N] in 0..C-1, none of them empty.
        batch_size: images per batch, >= 1.
        n_samples: images a class gives when it comes, >= 1.
        epoch_length: "floor" = floor(N / batch_size) full batches, at least one;
            "reference_sampler" = largest class * C images, as the sampler itself says in the
            reference; its last batch may be smaller.
        seed: >= 0.
    """

    balances = True

    def __init__(
        self, labels: Tensor, *, batch_size: int, n_samples: int, epoch_length: str, seed: int
    ) -> None:
        super().__init__(labels, seed=seed)
        positive(batch_size=batch_size, n_samples=n_samples)
        if epoch_length not in LENGTHS:
            raise ValueError(f"sampler.epoch_length must be one of {LENGTHS}, got {epoch_length!r}")
        self.batch_size, self.n_samples = batch_size, n_samples
        self.classes = Classes(self.labels)
        self.n_images = max(len(self.labels) // batch_size, 1) * batch_size
        if epoch_length == "reference_sampler":
            self.n_images = int(self.classes.counts.max()) * len(self.classes)

    def __len__(self) -> int:
        return n_batches(self.n_images, self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        per_epoch = -(
            -self.n_images // self.n_samples
        )  # what the last class gives too much is lost
        classes, passes = self._visits(self.epoch * per_epoch, per_epoch)
        turns = passes[:, None] * self.n_samples + np.arange(self.n_samples)
        order = self.classes.image(
            np.repeat(classes, self.n_samples), self._numbers(classes, turns).ravel()
        )
        yield from in_batches(torch.from_numpy(order[: self.n_images]), self.batch_size)

    def _visits(self, first: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Visits first .. first + n - 1 to a class: which class [n], in which pass [n]."""
        n_classes = len(self.classes)
        passes, places = np.divmod(np.arange(first, first + n), n_classes)
        orders = shuffles((self.seed, 0), n_classes, passes[0], passes[-1] + 1)
        return orders[passes - passes[0], places], passes

    def _numbers(self, classes: np.ndarray, turns: np.ndarray) -> np.ndarray:
        """Which of its images each class [n] gives in its turns [n, n_samples], counted from 0."""
        numbers = np.empty_like(turns)
        visits = np.argsort(classes, kind="stable")
        bounds = np.searchsorted(classes[visits], np.arange(len(self.classes) + 1))
        for k, size in enumerate(self.classes.counts):
            mine = visits[bounds[k] : bounds[k + 1]]
            if len(mine):
                passes, places = np.divmod(turns[mine], size)
                first = passes[0, 0]
                orders = shuffles((self.seed, 1, k), size, first, passes[-1, -1] + 1)
                numbers[mine] = orders[passes - first, places]
        return numbers


def shuffles(key: tuple[int, ...], n: int, first: int, last: int) -> np.ndarray:
    """Rows first .. last - 1 of an endless table of shuffles of 0..n-1.

    Any part of the table can be had without what comes before it.

    Args:
        key: integers >= 0 that name the table.
        n: length of a row, >= 1.
        first: >= 0.
        last: > first.

    Returns:
        int64 [last - first, n].
    """
    together = max(1, DRAWN_TOGETHER // n)
    sorted_rows = np.tile(np.arange(n), (together, 1))
    blocks = range(first // together, -(-last // together))
    table = [np.random.default_rng((*key, b)).permuted(sorted_rows, axis=1) for b in blocks]
    return np.concatenate(table)[first - blocks[0] * together :][: last - first]
