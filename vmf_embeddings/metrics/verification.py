"""Verification: are two rows of one class? ROC, AUC, EER, TAR at a FAR, best thresholds.

A pair is accepted where its similarity is at least a threshold. FAR (or FMR) is the share of pairs
of different classes that are accepted, TAR the share of pairs of one class; FNMR = 1 - TAR.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_float64
from vmf_embeddings.metrics.binary import Roc, roc

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_FEW = 30  # accepted negatives below which a TAR says little


@dataclass(frozen=True)
class TarAtFar:
    """The largest TAR among thresholds whose FAR is at most a given one.

    Args:
        tar: in [0, 1]; NaN where the FAR is below one pair of different classes.
        far: that is reached, at most the given one.
        threshold: least similarity that is accepted; inf where no pair is.
        n_accepted: pairs of different classes that are accepted.
    """

    tar: float
    far: float
    threshold: float
    n_accepted: int

    @property
    def few(self) -> bool:
        """Whether fewer than 30 pairs of different classes set the threshold."""
        return self.n_accepted < _FEW


def tar_at_far(curve: Roc, far: float) -> TarAtFar:
    """The largest TAR where at most floor(far N) of N pairs of different classes are accepted.

    Args:
        curve: of similarities, positive = of one class.
        far: in (0, 1].

    >>> tar_at_far(roc([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]), 0.5).tar
    1.0
    """
    if not 0 < far <= 1:
        raise ValueError(f"far must be in (0, 1], got {far}")
    n = curve.n_negative
    # 1e-9: far * n may lie a rounding error below a whole number
    if far * n < 1 - 1e-9 or not curve.n_positive:
        return TarAtFar(math.nan, math.nan, math.nan, 0)
    allowed = (curve.false_positives <= math.floor(far * n + 1e-9)).nonzero().squeeze(1)
    if not len(allowed):
        return TarAtFar(0.0, 0.0, math.inf, 0)
    last = int(allowed[-1])
    accepted = int(curve.false_positives[last])
    tar = int(curve.true_positives[last]) / curve.n_positive
    return TarAtFar(tar, accepted / n, float(curve.thresholds[last]), accepted)


def equal_error_rate(curve: Roc) -> float:
    """The rate at which FAR = 1 - TAR, on straight lines between the points of the ROC.

    Args:
        curve: of similarities, positive = of one class.

    Returns:
        In [0, 1]; NaN if all pairs are of one kind.

    >>> equal_error_rate(roc([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]))
    0.5
    """
    if not (curve.n_positive and curve.n_negative):
        return math.nan
    fpr, miss = _from(0.0, curve.fpr), _from(1.0, 1 - curve.tpr)
    after = int((fpr >= miss).nonzero()[0, 0])
    if after == 0:
        return float(fpr[0])
    before = after - 1
    gap_before, gap_after = float(miss[before] - fpr[before]), float(fpr[after] - miss[after])
    share = gap_before / (gap_before + gap_after)
    return float(fpr[before] + share * (fpr[after] - fpr[before]))


@dataclass(frozen=True)
class BestThreshold:
    """The threshold at which most pairs are told right.

    Args:
        accuracy: share of pairs that are told right there.
        threshold: least similarity that is accepted; inf where no pair is.
    """

    accuracy: float
    threshold: float


def best_threshold(curve: Roc, *, balanced: bool = True) -> BestThreshold:
    """The threshold of the largest accuracy; of several, the highest.

    Args:
        curve: of similarities, positive = of one class.
        balanced: (TAR + 1 - FAR) / 2, instead of the share of all pairs: where most pairs are of
            different classes, accepting none of them is nearly always right.
    """
    p, n = curve.n_positive, curve.n_negative
    true, false = _from(0, curve.true_positives), _from(0, curve.false_positives)
    if balanced:
        accuracy = (true.double() / p + 1 - false.double() / n) / 2
    else:
        accuracy = (true + n - false).double() / (p + n)
    best = int(accuracy.argmax())
    return BestThreshold(
        float(accuracy[best]), float(curve.thresholds[best - 1]) if best else math.inf
    )


@dataclass(frozen=True)
class Folds:
    """Accuracy by cross-validation of the threshold.

    Args:
        accuracy: [F] of each fold, with the threshold of the others.
        thresholds: [F].
    """

    accuracy: Tensor
    thresholds: Tensor

    @property
    def mean(self) -> float:
        """Mean accuracy over folds."""
        return float(self.accuracy.mean())

    @property
    def standard_error(self) -> float:
        """Sd (with F - 1) / sqrt(F)."""
        return float(self.accuracy.std() / len(self.accuracy) ** 0.5)


def fold_accuracy(scores: Array, same: Array, n_folds: int = 10) -> Folds:
    """Accuracy of each fold at the threshold that is best on all others (the protocol of LFW).

    Folds are consecutive parts of the pairs in the order given, as the protocol's file has them.
    Candidates for a threshold are the midpoints of neighbouring scores of the other folds; of those
    that are best, the middle one is taken.

    Args:
        scores: [P] similarities.
        same: [P], whether a pair is of one class.
        n_folds: F, at least 2 and at most P.

    Raises:
        ValueError: there are fewer pairs than folds, or lengths differ.
    """
    values, of_one = as_float64(scores), torch.as_tensor(same).bool()
    if values.shape != of_one.shape or values.ndim != 1 or not 2 <= n_folds <= len(values):
        raise ValueError(
            f"expected scores [P] and same [P] with P >= {n_folds} folds >= 2, got "
            f"{list(values.shape)} and {list(of_one.shape)}"
        )
    fold = torch.arange(len(values)) * n_folds // len(values)
    found = []
    for number in range(n_folds):
        own = fold == number
        threshold = _middle_of_best(values[~own], of_one[~own])
        right = (values[own] >= threshold) == of_one[own]
        found.append((float(right.double().mean()), threshold))
    accuracy, thresholds = zip(*found, strict=True)
    return Folds(
        torch.tensor(accuracy, dtype=torch.float64), torch.tensor(thresholds, dtype=torch.float64)
    )


def _middle_of_best(scores: Tensor, same: Tensor) -> float:
    """The middle one of the midpoints between scores at which most pairs are told right."""
    curve = roc(scores, same)
    right = curve.true_positives + curve.n_negative - curve.false_positives
    midpoints = (curve.thresholds[:-1] + curve.thresholds[1:]) / 2
    if not len(midpoints):
        return float(curve.thresholds[0])
    of_midpoint = right[:-1]
    best = (of_midpoint == of_midpoint.max()).nonzero().squeeze(1)
    return float(midpoints[best.flip(0)[len(best) // 2]])


def similarity_histogram(curve: Roc, edges: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Numbers of pairs of one class and of different classes between consecutive edges.

    Args:
        curve: of similarities, positive = of one class.
        edges: [E] ascending; the last bin includes its upper edge, as in NumPy.

    Returns:
        Two int64 [E - 1].
    """
    bounds = torch.as_tensor(edges, dtype=torch.float64)
    steps = curve.thresholds.flip(0)  # ascending
    place = torch.bucketize(steps, bounds, right=True) - 1
    place[steps == bounds[-1]] = len(bounds) - 2
    inside = (place >= 0) & (place < len(bounds) - 1)
    counts = []
    for cumulated in (curve.true_positives, curve.false_positives):
        each = cumulated.diff(prepend=cumulated.new_zeros(1)).flip(0)
        total = torch.zeros(len(bounds) - 1, dtype=torch.int64)
        counts.append(total.index_add_(0, place[inside], each[inside]))
    return counts[0], counts[1]


def _from(first: float, values: Tensor) -> Tensor:
    """The values after one more at the beginning: the threshold that accepts nothing."""
    return torch.cat([values.new_full((1,), first), values])
