"""The expected calibration error as a function of weights of rows.

A sample of rows drawn with replacement has a larger error than the rows themselves, by chance that
is added to chance: such draws tell how the difference of two models on the same rows varies, in
which this cancels, and not how the error of one model does.
"""

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_float64
from vmf_embeddings.metrics.calibration import Binning


class WeightedCalibrationError:
    """`expected_calibration_error` under weights; rows are sorted once.

    Args:
        confidence: [N] largest predicted probability of each row, in [0, 1].
        correct: [N] whether the prediction is correct.
        n_bins: >= 1.
        norm: 1 or 2.
        binning: see `reliability_bins`.

    >>> error = WeightedCalibrationError([0.75, 0.75], [1, 0])
    >>> error(torch.tensor([[3.0, 1.0], [1.0, 1.0]]))
    tensor([0.0000, 0.2500], dtype=torch.float64)
    """

    def __init__(
        self,
        confidence: Array,
        correct: Array,
        *,
        n_bins: int = 15,
        norm: int = 1,
        binning: Binning = "equal_width",
    ) -> None:
        values, right = as_float64(confidence), as_float64(correct)
        self._order = values.argsort(stable=True)
        self._gaps = (right - values)[self._order]
        self._n_bins, self._norm, self._binning = n_bins, norm, binning
        width = ((values[self._order] * n_bins).ceil() - 1).clamp(0, n_bins - 1)
        # places in the order where the bins of equal width end
        self._ends = torch.searchsorted(width, torch.arange(n_bins) + 0.5)

    def __call__(self, weights: Tensor) -> Tensor:
        """Whole weights [B, N] >= 0, how often each row counts -> errors float64 [B]."""
        weights = weights.double()[:, self._order]
        zero = weights.new_zeros(len(weights), 1)
        counts = torch.cat([zero, weights.cumsum(1)], 1)
        gaps = torch.cat([zero, (weights * self._gaps).cumsum(1)], 1)
        total = counts[:, -1:]
        if self._binning == "equal_width":
            n, sums = (x[:, self._ends].diff(dim=1, prepend=zero) for x in (counts, gaps))
        else:
            # row r from 0 goes to bin floor(r * n_bins / n), a row that counts twice to two r
            ends = (torch.arange(1, self._n_bins + 1) * total / self._n_bins - 1e-9).ceil()
            place = torch.searchsorted(counts, ends).clamp(1, len(self._gaps))
            beyond = counts.gather(1, place) - ends
            at_end = gaps.gather(1, place) - beyond * self._gaps[place - 1]
            n, sums = (x.diff(dim=1, prepend=zero) for x in (ends, at_end))
        of_bins = torch.where(n > 0, (sums / n).abs() ** self._norm * n, 0.0).sum(1) / total[:, 0]
        return of_bins ** (1 / self._norm)
