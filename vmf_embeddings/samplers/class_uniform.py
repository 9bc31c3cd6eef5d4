"""All classes equally likely, with at least one pair of images of one class in every batch.

The sampler "random" in the code of Roth et al. 2022, "Non-isotropy Regularization for Proxy-based
Deep Metric Learning", https://arxiv.org/abs/2203.08547.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.samplers.base import BatchSampler, check_positive
from vmf_embeddings.samplers.positives import Positives


class ClassUniformSampler(BatchSampler):
    """Draws a class uniformly and then one of its images, with replacement.

    The last image of a batch is a positive of a random other one: another image of the same class,
    if there is one.

    Args:
        labels: integer classes [N] in 0..C-1, none of them empty.
        batch_size: images per batch, >= 2; floor(N / batch_size) batches make an epoch, at least
            one.
        seed: >= 0.
    """

    balances = True

    def __init__(self, labels: Tensor, *, batch_size: int, seed: int) -> None:
        super().__init__(labels, seed=seed)
        check_positive(batch_size=batch_size)
        if batch_size < 2:
            raise ValueError("sampler.batch_size must be >= 2, as every batch has a pair; got 1")
        self.batch_size = batch_size
        self.positives = Positives(self.labels)

    def __len__(self) -> int:
        return max(len(self.labels) // self.batch_size, 1)

    def __iter__(self) -> Iterator[Tensor]:
        rng, classes = self.generator(), self.positives.classes
        drawn = rng.integers(len(classes), size=(len(self), self.batch_size - 1))
        images = classes.image(drawn, rng.integers(classes.counts[drawn]))
        anchors = images[np.arange(len(self)), rng.integers(self.batch_size - 1, size=len(self))]
        last = self.positives.draw(rng, anchors, 1)
        yield from torch.from_numpy(np.concatenate([images, last], axis=1))
