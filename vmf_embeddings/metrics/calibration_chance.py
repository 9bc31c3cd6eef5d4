"""The calibration error that chance alone gives to a perfectly calibrated model.

If row i is right with probability p_i, its confidence, then the rows of a bin that are right are a
sum of independent trials (Poisson binomial), and the bin has a gap all the same. A model whose
error is not above this is not shown to be miscalibrated.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_float64

_EXACT_ROWS = 2000  # of a bin; the sum of more rows is normal to four digits
_N_DRAWS = 1000


@dataclass(frozen=True)
class ChanceError:
    """The equal-width L1 error of a model with these confidences that is perfectly calibrated.

    Args:
        expected: its expectation.
        low: 2.5 % of such errors are below.
        high: 2.5 % of such errors are above.

    >>> error_if_calibrated([1.0, 1.0])  # nothing is left to chance
    ChanceError(expected=0.0, low=0.0, high=0.0)
    """

    expected: float
    low: float
    high: float


def expected_error_if_calibrated(confidence: Array, n_bins: int = 15) -> float:
    """Expectation of the equal-width ECE if every row were right with its own confidence.

    sum_b E|X_b - sum p_i| / N for X_b the number of rows of bin b that are right; exact for bins of
    up to 2,000 rows, of larger ones sqrt(2 / pi) times their standard deviation.

    Args:
        confidence: [N] largest predicted probability of each row, in [0, 1]; N >= 1.
        n_bins: >= 1.

    >>> expected_error_if_calibrated([0.5])
    0.5
    """
    values = _checked(confidence)
    total = 0.0
    for p in _bins(values, n_bins):
        if len(p) > _EXACT_ROWS:
            total += math.sqrt(2 / math.pi * float((p * (1 - p)).sum()))
        else:
            counts = torch.arange(len(p) + 1, dtype=torch.float64)
            total += float((_distribution(p) * (counts - p.sum()).abs()).sum())
    return total / len(values)


def error_if_calibrated(
    confidence: Array, n_bins: int = 15, generator: torch.Generator | None = None
) -> ChanceError:
    """The same with the range in which 95 % of 1,000 draws of right and wrong rows lie.

    Args:
        confidence: [N] largest predicted probability of each row, in [0, 1]; N >= 1.
        n_bins: >= 1.
        generator: of the draws.

    >>> error_if_calibrated([0.5])  # right or wrong, the gap is a half
    ChanceError(expected=0.5, low=0.5, high=0.5)
    """
    values = _checked(confidence)
    drawn = torch.zeros(_N_DRAWS, dtype=torch.float64)
    for p in _bins(values, n_bins):
        if len(p) > _EXACT_ROWS:
            normal = torch.randn(_N_DRAWS, dtype=torch.float64, generator=generator)
            drawn += normal.abs() * (p * (1 - p)).sum().sqrt()
        else:
            below = _distribution(p).cumsum(0)
            uniform = torch.rand(_N_DRAWS, dtype=torch.float64, generator=generator)
            count = torch.searchsorted(below, uniform).clamp_max(len(p))
            drawn += (count - p.sum()).abs()
    low, high = (drawn / len(values)).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return ChanceError(expected_error_if_calibrated(values, n_bins), float(low), float(high))


def _checked(confidence: Array) -> Tensor:
    values = as_float64(confidence)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"confidence must be [N] with N >= 1, got {list(values.shape)}")
    return values.clamp(0, 1)  # float32 softmax may exceed 1 by a rounding error


def _bins(values: Tensor, n_bins: int) -> Iterator[Tensor]:
    """The confidences of every bin that is not empty; the bins are those of `reliability_bins`."""
    bins = ((values * n_bins).ceil() - 1).clamp(0, n_bins - 1).long()
    for number in bins.unique():
        yield values[bins == number]


def _distribution(p: Tensor) -> Tensor:
    """Probability of every number of successes [n + 1] in n independent trials, one for each p."""
    found = torch.zeros(len(p) + 1, dtype=torch.float64).numpy()
    found[0] = 1
    for n_trials, success in enumerate(p.tolist(), 1):
        found[1 : n_trials + 1] = (
            found[1 : n_trials + 1] * (1 - success) + found[:n_trials] * success
        )
        found[0] *= 1 - success
    return torch.from_numpy(found)
