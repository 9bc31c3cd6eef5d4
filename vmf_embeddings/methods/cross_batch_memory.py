"""Cross-batch memory (XBM): rows of earlier batches, with which the rows of a batch are compared.

Wang, Zhang, Huang, Scott 2020, "Cross-Batch Memory for Embedding Learning", section 3.2,
https://arxiv.org/abs/1912.06798.
"""

from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.methods.row_queue import NO_CLASS, RowQueue


class CrossBatchMemory(RowQueue):
    """The last rows of a training without gradient; all of it is state, which a checkpoint has.

    It fills from the first batch on, and is used from batch `start` on.

    Args:
        size: rows that are kept, >= 1.
        dim: D.
        start: training batches before it is used, >= 0.
    """

    n_batches: Tensor

    def __init__(self, size: int, dim: int, start: int) -> None:
        super().__init__(size, dim)
        self.start = start
        self.register_buffer("n_batches", torch.zeros((), dtype=torch.long))
        self._known: tuple[int, int] | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """Batches seen, and rows that are filled; kept here, so that no step waits for a device."""
        if self._known is None:
            self._known = int(self.n_batches), int((self.labels != NO_CLASS).sum())
        return self._known

    def joined(self, rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of a batch [B, D] with their classes [B], then those of earlier batches.

        Returns:
            Rows [B + M, D] and classes [B + M]; the gradient reaches the first B alone. M = 0
            before the start.

        Example:
            >>> memory = CrossBatchMemory(3, 1, start=0)
            >>> memory.add(torch.ones(2, 1), torch.tensor([7, 8]))
            >>> memory.joined(torch.zeros(1, 1), torch.tensor([9]))[1]
            tensor([9, 7, 8])
        """
        n_batches, n_rows = self.counts
        if n_batches < self.start or not n_rows:
            return rows, labels
        kept = self.rows[:n_rows].to(rows)
        return torch.cat([rows, kept]), torch.cat([labels, self.labels[:n_rows]])

    @torch.no_grad()
    def add(self, rows: Tensor, labels: Tensor) -> None:
        """Takes the rows of a batch [B, D] of the classes [B]; of more than its size, the last."""
        if self.frozen:
            return
        n_batches, n_rows = self.counts
        super().add(rows, labels)
        self.n_batches += 1
        self._known = n_batches + 1, min(n_rows + len(rows), len(self.rows))

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._known = None
