"""The last rows of a training with their classes, which later batches are compared with."""

import torch
from torch import Tensor, nn

NO_CLASS = -1


class RowQueue(nn.Module):
    """First in, first out; all of it is state, which a checkpoint has.

    Args:
        size: K >= 0, rows that are kept.
        dim: P.
    """

    rows: Tensor
    labels: Tensor
    place: Tensor
    moves_in_pass = 2  # of two over a batch

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.frozen = False
        """Set during the other of two passes over a batch, whose rows are not to be added twice."""
        self.register_buffer("rows", torch.zeros(size, dim))
        self.register_buffer("labels", torch.full((size,), NO_CLASS))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def add(self, rows: Tensor, labels: Tensor) -> None:
        """Takes rows [N, P] of the classes [N] in place of the oldest; of more than K, the last."""
        size = len(self.rows)
        if self.frozen or not size:
            return
        rows, labels = rows[-size:], labels[-size:]
        places = (self.place + torch.arange(len(rows), device=rows.device)) % size
        self.rows.index_copy_(0, places, rows.to(self.rows))
        self.labels.index_copy_(0, places, labels)
        self.place.copy_((self.place + len(rows)) % size)
