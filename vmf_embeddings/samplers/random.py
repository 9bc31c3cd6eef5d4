"""Every image once per epoch, in random order."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vmf_embeddings.samplers.base import BatchSampler, check_positive, n_batches, split_into_batches


class RandomSampler(BatchSampler):
    """Shuffled batches; the last one may be smaller, as with `DataLoader(shuffle=True)`.

    Args:
        labels: integer classes [N]; only N matters here.
        batch_size: images per batch, >= 1; a single remaining image is added to the last batch.
        seed: >= 0.
    """

    def __init__(self, labels: Tensor, *, batch_size: int, seed: int) -> None:
        super().__init__(labels, seed=seed)
        check_positive(batch_size=batch_size)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return n_batches(len(self.labels), self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.from_numpy(self.generator().permutation(len(self.labels)))
        yield from split_into_batches(order, self.batch_size)
