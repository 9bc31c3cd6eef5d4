"""Class-aware sampling: classes in round-robin order, a few images of each.

The sampler of Kang et al. 2020, "Decoupling Representation and Classifier for Long-Tailed
Recognition", https://arxiv.org/abs/1910.09217, after Shen et al. 2016, https://arxiv.org/abs/1512.05830.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.samplers.base import BatchSampler, check_positive, n_batches, split_into_batches
from vmf_embeddings.samplers.classes import Classes

LENGTHS = ("floor", "reference_sampler")
DRAWN_TOGETHER = 1024  # numbers shuffled by one generator, whose construction takes long


class ClassAwareSampler(BatchSampler):
    """Iterates over a shuffled list of the classes, for each over a shuffled list of its images.

    Each visit of a class takes its next `n_samples` images. A list that is exhausted is shuffled
    again, so an image of a small class can occur twice in a batch. Both kinds of lists continue
    from one epoch to the next. No state is stored for this, see `round_robin_images`.

    Args:
        labels: integer classes [N] in 0..C-1, none of them empty.
        batch_size: images per batch, >= 1.
        n_samples: images per visit of a class, >= 1.
        epoch_length: "floor" = floor(N / batch_size) full batches, at least one;
            "reference_sampler" = C times the size of the largest class images, which is the length
            of the sampler in the authors' code; the last batch may be smaller.
        seed: >= 0.
    """

    balances = True

    def __init__(
        self, labels: Tensor, *, batch_size: int, n_samples: int, epoch_length: str, seed: int
    ) -> None:
        super().__init__(labels, seed=seed)
        check_positive(batch_size=batch_size, n_samples=n_samples)
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
        n_visits = -(-self.n_images // self.n_samples)  # a last visit may be cut short
        order = round_robin_images(
            self.classes, self.n_samples, self.epoch * n_visits, n_visits, seed=self.seed
        ).ravel()
        yield from split_into_batches(torch.from_numpy(order[: self.n_images]), self.batch_size)


def round_robin_images(
    classes: Classes, n_samples: int, first: int, n: int, *, seed: int
) -> np.ndarray:
    """The images of the visits first .. first + n - 1 in an endless sequence of visits of classes.

    The images of a visit are a function of its number v: every class is visited once per pass over
    the classes, so in pass v // C it has given (v // C) n_samples images before.

    Args:
        classes: the classes, visited in a new random order in every pass.
        n_samples: images per visit, >= 1.
        first: number of the first visit, >= 0.
        n: number of visits, >= 1.
        seed: of the sequence, >= 0.

    Returns:
        Indices [n, n_samples].
    """
    passes, positions = np.divmod(np.arange(first, first + n), len(classes))
    orders = shuffles((seed, 0), len(classes), passes[0], passes[-1] + 1)
    visited = orders[passes - passes[0], positions]
    # number of each image among all those that its class gives in the sequence
    drawn = passes[:, None] * n_samples + np.arange(n_samples)
    visits = np.argsort(visited, kind="stable")
    bounds = np.searchsorted(visited[visits], np.arange(len(classes) + 1))
    numbers = np.empty_like(drawn)
    for k, size in enumerate(classes.counts):
        of_class = visits[bounds[k] : bounds[k + 1]]
        if len(of_class):
            rounds, positions = np.divmod(drawn[of_class], size)
            orders = shuffles((seed, 1, k), size, rounds[0, 0], rounds[-1, -1] + 1)
            numbers[of_class] = orders[rounds - rounds[0, 0], positions]
    return classes.image(visited[:, None], numbers)


def shuffles(key: tuple[int, ...], n: int, first: int, last: int) -> np.ndarray:
    """Rows first .. last - 1 of an endless table whose rows are random permutations of 0..n-1.

    Any rows can be computed without those before them.

    Args:
        key: integers >= 0, seed of the table.
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
