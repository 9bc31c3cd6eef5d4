"""Random classes, a few random images of each: the usual batches of deep metric learning.

Roth et al. 2020, "Revisiting Training Strategies and Generalization Performance in Deep Metric
Learning", section 4.2, https://arxiv.org/abs/2002.08473, as in their code.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from vmf_embeddings.samplers.base import BatchSampler, groups_per_batch
from vmf_embeddings.samplers.classes import Classes


class ClassRandomSampler(BatchSampler):
    """Groups of images of one class; classes and images are drawn with replacement.

    A class can therefore have several groups in a batch, and an image can occur twice in it;
    `m_per_class.py` excludes both.

    Args:
        labels: integer classes [N] in 0..C-1, none of them empty.
        batch_size: images per batch, a multiple of `n_samples`; floor(N / batch_size) batches
            make an epoch, at least one.
        n_samples: images per group, >= 1.
        seed: >= 0.
    """

    balances = True

    def __init__(self, labels: Tensor, *, batch_size: int, n_samples: int, seed: int) -> None:
        super().__init__(labels, seed=seed)
        self.n_groups = groups_per_batch(batch_size, n_samples)
        self.batch_size, self.n_samples = batch_size, n_samples
        self.classes = Classes(self.labels)

    def __len__(self) -> int:
        return max(len(self.labels) // self.batch_size, 1)

    def __iter__(self) -> Iterator[Tensor]:
        rng, shape = self.generator(), (len(self), self.n_groups, 1)
        classes = rng.integers(len(self.classes), size=shape).repeat(self.n_samples, axis=2)
        images = self.classes.image(classes, rng.integers(self.classes.counts[classes]))
        yield from torch.from_numpy(images.reshape(len(self), -1))
