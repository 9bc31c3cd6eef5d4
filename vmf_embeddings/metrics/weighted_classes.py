"""Macro F1 as a function of weights of rows, from which its intervals come."""

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_labels


class WeightedMacroF1:
    """The mean over classes of F1 under weights; see `macro_f1`.

    Args:
        guess: [N] predicted classes.
        labels: [N] true ones.
        n_classes: C.

    >>> scores = WeightedMacroF1([0, 0, 1], [0, 1, 1], 2)
    >>> scores.over_rows(torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]]))
    tensor([0.6667, 1.0000], dtype=torch.float64)
    """

    def __init__(self, guess: Array, labels: Array, n_classes: int) -> None:
        self._guess, self._labels = as_labels(guess), as_labels(labels)
        self._n_classes, self._correct = n_classes, self._guess == self._labels
        ones = torch.ones(1, len(self._labels), dtype=torch.float64)
        self._rows, self._right = self._sums(ones, self._labels)[0], self._of_right(ones)[0]

    def over_rows(self, weights: Tensor) -> Tensor:
        """Weights [B, N] of rows that are drawn -> macro F1 [B]."""
        weights = weights.double()
        right = self._of_right(weights)
        # rows predicted as the class + rows of the class = 2 TP + FP + FN
        total = self._sums(weights, self._guess) + self._sums(weights, self._labels)
        known = total > 0
        return torch.where(known, 2 * right / total, 0.0).sum(1) / known.sum(1)

    def over_classes(self, weights: Tensor) -> Tensor:
        """Weights [B, N] of classes that are drawn -> macro F1 [B].

        A class that is drawn twice stands for two classes with its rows: each has them, and what is
        predicted as it, once, and counts once in the mean. A class without rows counts as 0 where
        it is predicted.
        """
        weights = weights.double()
        drawn = self._sums(weights, self._labels) / self._rows.clamp_min(1)
        others = self._sums(weights, self._guess) - drawn * self._right
        score = 2 * self._right / (self._rows + self._right + others)
        counts = torch.where(self._rows > 0, drawn, (others > 0).double())
        return torch.where(counts > 0, counts * score, 0.0).sum(1) / counts.sum(1)

    def _of_right(self, weights: Tensor) -> Tensor:
        return self._sums(weights[:, self._correct], self._labels[self._correct])

    def _sums(self, weights: Tensor, classes: Tensor) -> Tensor:
        """Sums [B, C] of weights [B, n] by class [n]."""
        return weights.new_zeros(len(weights), self._n_classes).index_add_(1, classes, weights)
