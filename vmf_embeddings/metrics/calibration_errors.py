"""Errors of calibration besides the usual one: signed, largest, without bias.

Kumar et al. 2019, https://arxiv.org/abs/1909.10155 (debiased).
"""

from vmf_embeddings.metrics.arrays import Array, as_float64
from vmf_embeddings.metrics.calibration import reliability_bins


def confidence_gap(confidence: Array, correct: Array) -> float:
    """Mean confidence minus accuracy, in [-1, 1]: > 0 is overconfident, < 0 underconfident.

    Args:
        confidence: [N] largest predicted probability of each row; N >= 1.
        correct: [N] whether the prediction is correct.

    >>> confidence_gap([0.9, 0.7], [1, 0])
    0.30000000000000004
    """
    return float(as_float64(confidence).mean() - as_float64(correct).mean())


def maximum_calibration_error(
    confidence: Array, correct: Array, *, n_bins: int = 15, least_rows: int = 10
) -> float:
    """The largest |accuracy - confidence| of a bin of equal width that has enough rows.

    A bin of one row would have a gap of up to 1 by chance alone.

    Args:
        confidence: [N] largest predicted probability of each row, in [0, 1].
        correct: [N] whether the prediction is correct.
        n_bins: >= 1.
        least_rows: of the bins that count, >= 1.

    Returns:
        In [0, 1]; NaN where no bin has that many rows.

    >>> maximum_calibration_error([0.75] * 8 + [0.1], [1] * 9, least_rows=2)
    0.25
    """
    bins = reliability_bins(confidence, correct, n_bins, "equal_width")
    gaps = (bins.accuracy - bins.confidence).abs()[bins.count >= least_rows]
    return float(gaps.max()) if len(gaps) else float("nan")


def debiased_squared_error(confidence: Array, correct: Array, n_bins: int = 15) -> float:
    """The square of the L2 error over bins of equal mass, less what chance adds to it.

    sum_b n_b/N ((acc_b - conf_b)^2 - acc_b (1 - acc_b) / (n_b - 1)). It may be below 0; the error
    itself is the root of its positive part. A bin of one row is not corrected.

    Args:
        confidence: [N] largest predicted probability of each row, in [0, 1].
        correct: [N] whether the prediction is correct.
        n_bins: >= 1.

    >>> debiased_squared_error([0.75] * 4, [1, 1, 1, 0], n_bins=1)  # no gap, less what chance adds
    -0.0625
    """
    bins = reliability_bins(confidence, correct, n_bins, "equal_mass")
    chance = bins.accuracy * (1 - bins.accuracy) / (bins.count - 1).clamp_min(1)
    squared = (bins.accuracy - bins.confidence).square() - chance
    return float((bins.count * squared).sum() / bins.count.sum())
