"""Errors of calibration besides the usual one: signed, largest, of every class, without bias.

Kull et al. 2019, https://arxiv.org/abs/1910.12656 (class-wise); Nixon et al. 2019,
https://arxiv.org/abs/1904.01685 (adaptive, with a threshold); Kumar et al. 2019,
https://arxiv.org/abs/1909.10155 (debiased).
"""

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_float64, as_labels
from vmf_embeddings.metrics.calibration import Binning, reliability_bins

_BLOCK_ELEMENTS = 2**22  # of probabilities that are sorted into bins at a time


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
    probability, own = as_float64(predicted), as_labels(labels)
    if probability.ndim != 2 or len(probability) != len(own) or not len(own):
        raise ValueError(
            f"predicted must be [N, C] and labels [N] with N >= 1, got {list(probability.shape)} "
            f"and {list(own.shape)}"
        )
    n_rows, n_classes = probability.shape
    size = max(1, _BLOCK_ELEMENTS // n_rows)
    found = []
    for classes in torch.arange(n_classes).split(size):
        is_class = own[:, None] == classes
        found.append(_errors(probability[:, classes], is_class, n_bins, binning, above))
    return torch.cat(found)


def _errors(
    probability: Tensor, is_class: Tensor, n_bins: int, binning: Binning, above: float | None
) -> Tensor:
    """Those of k classes, from probabilities and flags [N, k]."""
    kept = torch.ones_like(is_class) if above is None else probability > above
    n_kept = kept.sum(0)
    if binning == "equal_width":
        bins = ((probability * n_bins).ceil() - 1).clamp(0, n_bins - 1).long()
    else:
        # the rows that are left out come first
        order = probability.masked_fill(~kept, -1).sort(dim=0, stable=True).indices
        probability, is_class, kept = (x.gather(0, order) for x in (probability, is_class, kept))
        place = torch.arange(len(kept))[:, None] - (len(kept) - n_kept)
        bins = (place * n_bins // n_kept.clamp_min(1)).clamp_min(0)
    excess = (is_class.double() - probability) * kept
    flat = (bins + n_bins * torch.arange(bins.shape[1])).flatten()
    totals = torch.bincount(flat, excess.flatten(), minlength=n_bins * bins.shape[1])
    return totals.view(-1, n_bins).abs().sum(1) / torch.where(n_kept > 0, n_kept, torch.nan)
