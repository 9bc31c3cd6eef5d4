"""Expected calibration error and the bins of a reliability diagram.

Naeini, Cooper, Hauskrecht 2015 (bins of confidence), Nguyen & O'Connor 2015,
https://arxiv.org/abs/1508.05154 (equal-mass bins). Scott et al. 2021,
https://arxiv.org/abs/2103.15718, report the L2 form over 15 equal-mass bins; most others the L1
form over 15 bins of equal width. The two are not comparable.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_float64

Binning = Literal["equal_mass", "equal_width"]


@dataclass(frozen=True)
class ReliabilityBins:
    """Non-empty bins, by increasing confidence.

    Args:
        count: [B] int64, rows per bin.
        confidence: [B] mean predicted probability of the predicted class.
        accuracy: [B] fraction of correct predictions.
    """

    count: Tensor
    confidence: Tensor
    accuracy: Tensor


def reliability_bins(
    confidence: Array, correct: Array, n_bins: int = 15, binning: Binning = "equal_mass"
) -> ReliabilityBins:
    """Group predictions into bins by confidence.

    Args:
        confidence: [N] largest predicted probability of each row, in [0, 1].
        correct: [N] whether the prediction is correct.
        n_bins: >= 1.
        binning: "equal_mass": of N rows sorted by confidence (ties keep their order), row r from 0
            goes to bin floor(r * n_bins / N). "equal_width": bin b holds (b/n_bins, (b+1)/n_bins].

    Returns:
        The non-empty bins.

    >>> reliability_bins([0.9, 0.6, 0.8, 0.7], [1, 0, 1, 0], n_bins=2).accuracy
    tensor([0., 1.], dtype=torch.float64)
    """
    confidence, correct = as_float64(confidence), as_float64(correct)
    _check(confidence, correct, n_bins)
    if binning == "equal_mass":
        order = confidence.sort(stable=True).indices
        confidence, correct = confidence[order], correct[order]
        bins = torch.arange(len(order), device=order.device) * n_bins // len(order)
    elif binning == "equal_width":
        bins = ((confidence * n_bins).ceil() - 1).clamp(0, n_bins - 1).long()
    else:
        raise ValueError(f"binning must be equal_mass or equal_width, got {binning!r}")
    count = torch.bincount(bins, minlength=n_bins)
    filled = count > 0
    total_confidence = torch.bincount(bins, weights=confidence, minlength=n_bins)[filled]
    total_correct = torch.bincount(bins, weights=correct, minlength=n_bins)[filled]
    count = count[filled]
    return ReliabilityBins(count, total_confidence / count, total_correct / count)


def expected_calibration_error(
    confidence: Array,
    correct: Array,
    *,
    n_bins: int = 15,
    norm: Literal[1, 2] = 1,
    binning: Binning = "equal_width",
) -> float:
    """(sum_b n_b/N |accuracy_b - confidence_b|^norm)^(1/norm), in [0, 1].

    The usual ECE is `norm=1, binning="equal_width"` (the default). Scott et al. 2021 use
    `norm=2, binning="equal_mass"`, a root mean square, never below the L1 form of the same bins.

    Args:
        confidence: [N] largest predicted probability of each row, in [0, 1].
        correct: [N] whether the prediction is correct.
        n_bins: >= 1.
        norm: 1 or 2.
        binning: see `reliability_bins`.

    >>> expected_calibration_error([0.75, 0.75, 0.75, 0.75], [1, 1, 1, 0])
    0.0
    """
    if norm not in (1, 2):
        raise ValueError(f"norm must be 1 or 2, got {norm!r}")
    bins = reliability_bins(confidence, correct, n_bins, binning)
    weight = bins.count.double() / bins.count.sum()
    gap = (bins.accuracy - bins.confidence).abs()
    return float((weight * gap**norm).sum() ** (1 / norm))


def _check(confidence: Tensor, correct: Tensor, n_bins: int) -> None:
    if confidence.ndim != 1 or confidence.shape != correct.shape or len(confidence) == 0:
        raise ValueError(
            "confidence and correct must both be [N] with N >= 1, "
            f"got {list(confidence.shape)} and {list(correct.shape)}"
        )
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    # 1e-6: float32 softmax may exceed 1 by a rounding error
    if not ((confidence >= 0) & (confidence <= 1 + 1e-6)).all():
        raise ValueError("confidence must lie in [0, 1]; pass probabilities, not logits")
