"""Scores of telling two kinds of rows apart by one number: ROC, AUROC, average precision.

Everything is counted in float64 at the distinct scores, so that no result depends on the order of
rows, nor on any rising map of the scores. Rows of equal score count half in the AUROC (Mann &
Whitney 1947) and enter precision together.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array
from vmf_embeddings.metrics.ordered import Ordered


@dataclass(frozen=True)
class Roc:
    """How many rows score at least as much as every distinct score.

    Args:
        thresholds: float64 [T], distinct scores, falling.
        true_positives: int64 [T], positive rows of that score or a larger one.
        false_positives: int64 [T], likewise of negative rows.
    """

    thresholds: Tensor
    true_positives: Tensor
    false_positives: Tensor

    @property
    def n_positive(self) -> int:
        """Number of positive rows."""
        return int(self.true_positives[-1])

    @property
    def n_negative(self) -> int:
        """Number of negative rows."""
        return int(self.false_positives[-1])

    @property
    def tpr(self) -> Tensor:
        """True positive rate [T]; NaN without positive rows."""
        return self.true_positives.double() / self.n_positive

    @property
    def fpr(self) -> Tensor:
        """False positive rate [T]; NaN without negative rows."""
        return self.false_positives.double() / self.n_negative


def roc(scores: Array, positive: Array) -> Roc:
    """The ROC curve at every distinct score.

    Args:
        scores: [N], larger = more likely positive; N >= 1, no NaN.
        positive: [N], whether a row is positive.

    >>> roc([0.1, 0.9, 0.9], [0, 1, 0]).true_positives
    tensor([1, 1])
    """
    ordered, positive = _ordered(scores, positive)
    kinds = ordered.sums(torch.stack([positive, ~positive]).long()).flip(1).cumsum(1)
    return Roc(ordered.scores.flip(0), *kinds)


def auroc(scores: Array, positive: Array) -> float:
    """Probability that a positive row scores more than a negative one, equal scores counted half.

    Args:
        scores: [N], larger = more likely positive; N >= 1, no NaN.
        positive: [N], whether a row is positive; or by how much, in [0, 1], the rest of a row being
            negative with the same score.

    Returns:
        In [0, 1]; NaN if all rows are of one kind.

    >>> auroc([1, 2, 2, 3], [0, 0, 1, 1])
    0.875
    >>> auroc([1, 2], [0, 0.5])
    0.8333333333333334
    """
    if not _whole(positive):
        return float(weighted_auroc(scores, positive)(torch.ones(1, len(positive)))[0])
    curve = roc(scores, positive)
    if not (curve.n_positive and curve.n_negative):
        return float("nan")
    true, false = (_steps(counts) for counts in (curve.true_positives, curve.false_positives))
    # by halves in integers: exact
    twice = false.to(torch.int64) * (2 * curve.true_positives - true)
    return float(twice.sum()) / 2 / curve.n_positive / curve.n_negative


def weighted_auroc(scores: Array, positive: Array) -> Callable[[Tensor], Tensor]:
    """The AUROC as a function of weights of rows; the scores are sorted once.

    Args:
        scores: [N], larger = more likely positive; N >= 1, no NaN.
        positive: [N], whether a row is positive, or by how much, as for `auroc`.

    Returns:
        Weights [B, N] >= 0 -> AUROC float64 [B], NaN where one kind weighs nothing. A weight of n
        counts a row n times.

    >>> weighted_auroc([1, 2, 3], [0, 1, 1])(torch.tensor([[2.0, 1.0, 0.0]]))
    tensor([1.], dtype=torch.float64)
    """
    ordered, positive = _shares(scores, positive)
    kinds = [ordered.in_order(own[None]) for own in (positive, 1 - positive)]

    def score(weights: Tensor) -> Tensor:
        in_order = ordered.in_order(weights.double())
        true, false = (ordered.sums_in_order(in_order * own) for own in kinds)
        below = false.cumsum(1) - false / 2
        return (true * below).sum(1) / (true.sum(1) * false.sum(1))

    return score


def auroc_influence(scores: Array, positive: Array) -> Tensor:
    """What every row contributes to the error of the AUROC, of mean 0 (DeLong et al. 1988).

    Where rows are drawn independently, the AUROC's standard error is that of the mean of these
    values; where groups of rows are, that of the mean of their sums; and the error of a difference
    of two AUROCs on the same rows is that of the differences.

    Args:
        scores: [N], larger = more likely positive; N >= 1, no NaN.
        positive: [N], whether a row is positive, or by how much, as for `auroc`.

    Returns:
        Float64 [N]; NaN if all rows are of one kind.
    """
    ordered, positive = _shares(scores, positive)
    true, false = ordered.sums(torch.stack([positive, 1 - positive]))
    n_true, n_false = true.sum(), false.sum()
    below = (false.cumsum(0) - false / 2) / n_false
    above = 1 - (true.cumsum(0) - true / 2) / n_true
    area = (true * below).sum() / n_true
    of_true, of_false = ordered.of_rows(below - area), ordered.of_rows(above - area)
    mixed = torch.lerp(of_false / n_false, of_true / n_true, positive)
    return len(positive) * torch.where(n_true * n_false > 0, mixed, torch.nan)


def average_precision(scores: Array, positive: Array) -> float:
    """Area under precision and recall by steps: sum over thresholds of precision times new recall.

    Rows of equal score enter together.

    Args:
        scores: [N], larger = more likely positive; N >= 1, no NaN.
        positive: [N], whether a row is positive.

    Returns:
        In (0, 1]; NaN without positive rows.

    >>> average_precision([3, 2, 1], [1, 0, 1])
    0.8333333333333333
    """
    curve = roc(scores, positive)
    found = curve.true_positives + curve.false_positives
    precision = curve.true_positives.double() / found
    return float((precision * _steps(curve.true_positives)).sum() / curve.n_positive)


def fpr_at_tpr(scores: Array, positive: Array, tpr: float = 0.95) -> float:
    """False positive rate at the largest threshold that finds a share `tpr` of the positive rows.

    Args:
        scores: [N], larger = more likely positive; N >= 1, no NaN.
        positive: [N], whether a row is positive.
        tpr: in (0, 1].

    Returns:
        In [0, 1]; NaN if all rows are of one kind.

    >>> fpr_at_tpr([4, 3, 2, 1], [1, 0, 1, 0])
    0.5
    """
    if not 0 < tpr <= 1:
        raise ValueError(f"tpr must be in (0, 1], got {tpr}")
    curve = roc(scores, positive)
    if not (curve.n_positive and curve.n_negative):
        return float("nan")
    enough = (curve.true_positives.double() >= tpr * curve.n_positive).nonzero()
    return float(curve.fpr[enough[0, 0]])


def _steps(counts: Tensor) -> Tensor:
    """Differences of cumulated counts, with the first."""
    return counts.diff(prepend=counts.new_zeros(1))


def _whole(positive: Array) -> bool:
    """Whether every row is of one kind or the other."""
    values = torch.as_tensor(positive)
    return not values.is_floating_point() or bool(((values == 0) | (values == 1)).all())


def _shares(scores: Array, positive: Array) -> tuple[Ordered, Tensor]:
    """The scores in order, and by how much each row is positive, float64 in [0, 1]."""
    if _whole(positive):
        ordered, kinds = _ordered(scores, positive)
        return ordered, kinds.double()
    shares = torch.as_tensor(positive).double()
    if bool(((shares < 0) | (shares > 1) | shares.isnan()).any()):
        raise ValueError("positive must be true or false for each row, or a share from 0 to 1")
    return _ordered(scores, shares)[0], shares


def _ordered(scores: Array, positive: Array) -> tuple[Ordered, Tensor]:
    """The scores in order, and `positive` as bool, in the order of the rows."""
    ordered, positive = Ordered(scores), torch.as_tensor(positive).bool()
    if positive.shape != torch.as_tensor(scores).shape:
        raise ValueError(
            f"scores and positive must both be [N], got {list(torch.as_tensor(scores).shape)} and "
            f"{list(positive.shape)}"
        )
    return ordered, positive
