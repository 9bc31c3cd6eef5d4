"""M different images of each of several classes: pytorch-metric-learning's `MPerClassSampler`.

https://kevinmusgrave.github.io/pytorch-metric-learning/samplers/#mperclasssampler
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.samplers.base import BatchSampler, groups_per_batch
from vmf_embeddings.samplers.classes import Classes
from vmf_embeddings.samplers.episodic import draw_distinct
from vmf_embeddings.samplers.positives import draw_numbers


class MPerClassSampler(BatchSampler):
    """Groups of images of one class; no class and no image occurs twice in a batch.

    The only exception are classes with fewer images than a group, whose images are repeated.

    Args:
        labels: integer classes [N] in 0..C-1, none of them empty.
        batch_size: images per batch, a multiple of `n_samples`; floor(N / batch_size) batches
            make an epoch, at least one.
        n_samples: images per class, >= 1; there must be batch_size / n_samples classes.
        seed: >= 0.
    """

    balances = True

    def __init__(self, labels: Tensor, *, batch_size: int, n_samples: int, seed: int) -> None:
        super().__init__(labels, seed=seed)
        self.n_groups = groups_per_batch(batch_size, n_samples)
        self.batch_size, self.n_samples = batch_size, n_samples
        self.classes = Classes(self.labels)
        if len(self.classes) < self.n_groups:
            raise ValueError(
                f"sampler.batch_size={batch_size} with sampler.n_samples={n_samples} needs "
                f"{self.n_groups} classes, got {len(self.classes)}: use more images per class, a "
                "smaller batch, or sampler=class_random"
            )

    def __len__(self) -> int:
        return max(len(self.labels) // self.batch_size, 1)

    def __iter__(self) -> Iterator[Tensor]:
        rng = self.generator()
        classes = draw_distinct(rng, np.full(len(self), len(self.classes)), self.n_groups)
        numbers = draw_numbers(rng, self.classes.counts[classes.ravel()], self.n_samples)
        images = self.classes.image(classes.reshape(-1, 1), numbers)
        yield from torch.from_numpy(images.reshape(len(self), -1))
