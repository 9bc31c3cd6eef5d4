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
    from one epoch to the next, and yet nothing is remembered: see `images_in_turn`.

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
        n_visits = -(-self.n_images // self.n_samples)  # what the last one gives too much is lost
        order = images_in_turn(
            self.classes, self.n_samples, self.epoch * n_visits, n_visits, seed=self.seed
        ).ravel()
        yield from in_batches(torch.from_numpy(order[: self.n_images]), self.batch_size)


def images_in_turn(
    classes: Classes, n_samples: int, first: int, n: int, *, seed: int
) -> np.ndarray:
    """What visits first .. first + n - 1 to a class give.

    A visit is a function of its number: every class comes once in a pass over the classes, so
    the pass tells how many images it has given before.

    Args:
        classes: to go through in shuffled passes.
        n_samples: images a visit gives, >= 1.
        first: >= 0.
        n: >= 1.
        seed: >= 0, names the sequence.

    Returns:
        Indices [n, n_samples].
    """
    passes, places = np.divmod(np.arange(first, first + n), len(classes))
    orders = shuffles((seed, 0), len(classes), passes[0], passes[-1] + 1)
    visited = orders[passes - passes[0], places]
    turns = passes[:, None] * n_samples + np.arange(n_samples)
    visits = np.argsort(visited, kind="stable")
    bounds = np.searchsorted(visited[visits], np.arange(len(classes) + 1))
    numbers = np.empty_like(turns)
    for k, size in enumerate(classes.counts):
        mine = visits[bounds[k] : bounds[k + 1]]
        if len(mine):
            rounds, places = np.divmod(turns[mine], size)
            orders = shuffles((seed, 1, k), size, rounds[0, 0], rounds[-1, -1] + 1)
            numbers[mine] = orders[rounds - rounds[0, 0], places]
    return classes.image(visited[:, None], numbers)


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
