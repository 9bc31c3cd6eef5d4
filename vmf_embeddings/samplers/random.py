"""Every image once per epoch, in random order."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vmf_embeddings.samplers.base import BatchSampler, positive


class RandomSampler(BatchSampler):
    """Shuffled batches; the last one may be smaller, as with `DataLoader(shuffle=True)`.

    A single image left over joins the batch before it: alone it has no batch statistics.

    Args:
        labels: integer classes [N]; only N matters here.
        batch_size: images per batch, >= 1.
        seed: >= 0.
    """

    def __init__(self, labels: Tensor, *, batch_size: int, seed: int) -> None:
        super().__init__(labels, seed=seed)
        positive(batch_size=batch_size)
        self.batch_size = batch_size

    def __len__(self) -> int:
        full, rest = divmod(len(self.labels), self.batch_size)
        return full + (rest > self._joins(full))

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.from_numpy(self.generator().permutation(len(self.labels)))
        batches = list(order.split(self.batch_size))
        if len(batches) > len(self):
            batches[-2:] = [torch.cat(batches[-2:])]
        yield from batches

    def _joins(self, full: int) -> int:
        """How many images left over are too few for a batch of their own."""
        return 1 if full and self.batch_size > 1 else 0
