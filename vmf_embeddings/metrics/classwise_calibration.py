"""Calibration errors of every class: of its probability against being the label.

Kull et al. 2019, https://arxiv.org/abs/1910.12656 (class-wise); Nixon et al. 2019,
https://arxiv.org/abs/1904.01685 (adaptive, with a threshold).
"""

from bisect import bisect_left
from math import ceil

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_float64, as_labels
from vmf_embeddings.metrics.calibration import Binning


def classwise_calibration_errors(
    predicted: Array,
    labels: Array,
    *,
    n_bins: int = 15,
    binning: Binning = "equal_width",
    above: float | None = None,
) -> Tensor:
    """The L1 calibration error of every class: of its probability against being the label.

    Args:
        predicted: [N, C] probabilities; N >= 1.
        labels: [N] in 0..C-1.
        n_bins: >= 1.
        binning: see `reliability_bins`.
        above: rows whose probability of the class is no larger are left out of it; None = none are.

    Returns:
        Float64 [C]; NaN for a class of which no row is left. The class-wise error is their mean.

    >>> classwise_calibration_errors([[0.8, 0.2], [0.8, 0.2]], [0, 0])
    tensor([0.2000, 0.2000], dtype=torch.float64)
    """
    probability, own = as_float64(predicted).cpu(), as_labels(labels).cpu()
    if probability.ndim != 2 or len(probability) != len(own) or not len(own):
        raise ValueError(
            f"predicted must be [N, C] and labels [N] with N >= 1, got {list(probability.shape)} "
            f"and {list(own.shape)}"
        )
    if binning not in ("equal_mass", "equal_width"):
        raise ValueError(f"binning must be equal_mass or equal_width, got {binning!r}")
    rows = rows_of_classes(own, probability.shape[1])
    return torch.tensor(
        [
            SortedClass(values, own_rows).error(n_bins, binning, above)
            for values, own_rows in zip(probability.unbind(1), rows, strict=True)
        ],
        dtype=torch.float64,
    )


def rows_of_classes(labels: Tensor, n_classes: int) -> tuple[Tensor, ...]:
    """The rows of each class 0..C-1, ascending."""
    counts = torch.bincount(labels, minlength=n_classes)
    return labels.argsort(stable=True).split(counts.tolist())


class SortedClass:
    """Rows sorted once by their probability of a class, for several errors; ties keep their order.

    Args:
        probability: float64 [N] of the class.
        own: int64 rows that are of the class, ascending.
    """

    def __init__(self, probability: Tensor, own: Tensor) -> None:
        self._probability, self._own = probability.numpy(), own.numpy()
        self._sorted = np.sort(self._probability)
        self._of_own = np.sort(self._probability[self._own])
        self._total = np.concatenate([[0.0], np.cumsum(self._sorted)])

    def error(self, n_bins: int, binning: Binning, above: float | None = None) -> float:
        """Mean over rows of |sum of (is of the class) - probability| of their bin, in [0, 1].

        Args:
            n_bins: >= 1.
            binning: see `reliability_bins`.
            above: rows whose probability is no larger are left out; None = none are.

        Returns:
            NaN where no row is left.
        """
        n = len(self._sorted)
        first = 0 if above is None else int(np.searchsorted(self._sorted, above, "right"))
        if first == n:
            return float("nan")
        if binning == "equal_mass":
            # place r of n - first is in bin floor(r n_bins / (n - first))
            edges = [first + -(-b * (n - first) // n_bins) for b in range(n_bins + 1)]
        else:
            # the bin of a probability rises with it
            inner = (
                bisect_left(self._sorted, b, key=lambda p: ceil(p * n_bins) - 1)
                for b in range(1, n_bins)
            )
            edges = [first, *(max(first, edge) for edge in inner), n]
        before = np.array([self._excess_before(edge) for edge in edges])
        return float(np.abs(np.diff(before)).sum() / (n - first))

    def _excess_before(self, place: int) -> float:
        """Sum of (is of the class) - probability of the first rows, up to a place in 0..N."""
        if place == len(self._sorted):
            return float(len(self._own) - self._total[place])
        value = self._sorted[place]
        n_own, end = (np.searchsorted(self._of_own, value, side) for side in ("left", "right"))
        n_tied = place - np.searchsorted(self._sorted, value)
        if n_tied and end > n_own:  # of equal rows the first come before the place
            tied = np.flatnonzero(self._probability == value)[:n_tied]
            n_own += np.isin(tied, self._own, assume_unique=True).sum()
        return float(n_own - self._total[place])
