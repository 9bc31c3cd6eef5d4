"""Predictions from logits, a block of rows or of classes at a time: never all probabilities."""

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import as_labels
from vmf_embeddings.metrics.classification import probabilities, squared_errors

_BLOCK_ELEMENTS = 2**22  # of the logits that are in float64 at a time
_COLUMN_ELEMENTS = 2**25  # of the probabilities of some classes, of all rows, at a time


class ClassPredictions:
    """What is predicted from logits, and for labels how wrong it is.

    Args:
        logits: [N, C], or [N, S, C] with S draws each; any float type.
        labels: [M] in 0..C-1, of the rows that are predicted.
        rows: int64 [M] which rows of the logits these are; None = all of them.
        scaled: float64 logits -> logits, before probabilities are taken.
    """

    def __init__(
        self,
        logits: np.ndarray,
        labels: np.ndarray,
        rows: np.ndarray | None = None,
        scaled: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self._logits, self._rows, self._scaled = logits, rows, scaled
        self.labels = as_labels(labels)
        self.n_classes = int(logits.shape[-1])

    def rescaled(self, scaled: Callable[[Tensor], Tensor]) -> "ClassPredictions":
        """The same rows with other logits."""
        return ClassPredictions(self._logits, self.labels.numpy(), self._rows, scaled)

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Consecutive parts of the rows, and their probabilities float64 [n, C]."""
        step = max(1, _BLOCK_ELEMENTS // max(1, self._logits[0].size))
        for start in range(0, len(self.labels), step):
            part = slice(start, min(start + step, len(self.labels)))
            chosen = self._logits[part if self._rows is None else self._rows[part]]
            logits = torch.from_numpy(chosen).double()
            yield part, probabilities(logits if self._scaled is None else self._scaled(logits))

    def columns(self) -> Iterator[Tensor]:
        """The probabilities float64 [M] of class 0, 1, and so on; each only until the next ones."""
        size = min(self.n_classes, max(1, _COLUMN_ELEMENTS // len(self.labels)))
        memory = torch.empty(size, len(self.labels), dtype=torch.float64)
        for first in range(0, self.n_classes, size):
            found = memory[: self.n_classes - first]
            for part, predicted in self.blocks():
                found[:, part] = predicted[:, first : first + size].T
            yield from found

    @cached_property
    def probabilities(self) -> Tensor:
        """All of them, float64 [M, C]."""
        found = torch.empty(len(self.labels), self.n_classes, dtype=torch.float64)
        for part, predicted in self.blocks():
            found[part] = predicted
        return found

    @property
    def confidence(self) -> Tensor:
        """The largest probability of each row, float64 [M]."""
        return self._of_rows["confidence"]

    @property
    def guess(self) -> Tensor:
        """The class that has it, the lowest of several, int64 [M]."""
        return self._of_rows["guess"].long()

    @property
    def correct(self) -> Tensor:
        """Whether it is the label, bool [M]."""
        return self.guess == self.labels

    @property
    def log_losses(self) -> Tensor:
        """-log p(label) in nats, float64 [M]."""
        return self._of_rows["log_losses"]

    @property
    def squared_errors(self) -> Tensor:
        """sum_c (p_c - [c is the label])^2, float64 [M]."""
        return self._of_rows["squared_errors"]

    @cached_property
    def _of_rows(self) -> dict[str, Tensor]:
        names = ("confidence", "guess", "log_losses", "squared_errors")
        found = {name: torch.empty(len(self.labels), dtype=torch.float64) for name in names}
        for part, predicted in self.blocks():
            own = self.labels[part]
            found["confidence"][part], found["guess"][part] = predicted.max(1)
            found["log_losses"][part] = -predicted.gather(1, own[:, None]).squeeze(1).log()
            found["squared_errors"][part] = squared_errors(predicted, own)
        return found
