"""Expected retrieval scores where positives and negatives have equal scores.

Rows of equal score have no order: a score is its mean over all orders of them, as in McSherry and
Najork 2008, "Computing Information Retrieval Performance Measures Efficiently in the Presence of
Tied Scores" (ECIR, https://doi.org/10.1007/978-3-540-78646-7_38). A run of tied rows holds p
positives and n negatives, t = p + n rows; a rows rank before it, b of them positives.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_SERIES_FROM = 256  # the series for harmonic numbers is exact to 1e-16 from here
_NEGLIGIBLE = 1e-20  # probability below which the rest of a run is left out


@dataclass(frozen=True)
class Runs:
    """The run of tied rows that each of R positives of Q queries lies in, as float64 numbers.

    Args:
        before: [Q, R] a, rows before the run.
        positives_before: [Q, R] b, positives among them.
        positives: [Q, R] p >= 1.
        size: [Q, R] t >= p.
    """

    before: Tensor
    positives_before: Tensor
    positives: Tensor
    size: Tensor


def runs_of(negatives_before: Tensor, tied: Tensor, n_equal: Tensor) -> Runs:
    """Runs from counts [Q, R] of each positive, nearest first.

    Args:
        negatives_before: negatives that rank before the positive, those of its score not counted.
        tied: negatives of its score.
        n_equal: positives of its score, itself included.
    """
    n_equal = n_equal.long()
    place = torch.arange(n_equal.shape[1], device=n_equal.device).expand_as(n_equal)
    # runs of p positives that follow one another start p places apart
    changes = torch.ones_like(n_equal, dtype=torch.bool)
    changes[:, 1:] = n_equal[:, 1:] != n_equal[:, :-1]
    start = torch.where(changes, place, 0).cummax(1).values
    positives_before = start + (place - start) // n_equal * n_equal
    return Runs(
        (negatives_before + positives_before).double(), positives_before.double(),
        n_equal.double(), (tied + n_equal).double(),
    )  # fmt: skip


def precision_sum(runs: Runs, cutoff: int) -> Tensor:
    """Expected number of positives among the first `cutoff` rows, [Q].

    Of a run that the cutoff divides, each row is among its first m with probability m / t.
    """
    return ((cutoff - runs.before).clamp_min(0).minimum(runs.size) / runs.size).sum(1)


def average_precision_sum(runs: Runs, cutoff: float) -> Tensor:
    """Expected sum over hits among the first `cutoff` rows of the precision at the hit, [Q].

    Place j of a run holds a positive with probability p / t. Then (j - 1)(p - 1)/(t - 1) positives
    of the run are expected before it, so that the precision at rank a + j is
    (b + 1 + (j - 1) c) / (a + j) with c = (p - 1)/(t - 1). Its sum over j = 1..m, with H harmonic
    numbers, is m c + (b + 1 - c - a c) (H(a + m) - H(a)).
    """
    a, b, p, t = runs.before, runs.positives_before, runs.positives, runs.size
    m = (cutoff - a).clamp_min(0).minimum(t)
    c = (p - 1) / (t - 1).clamp_min(1)
    expected = m * c + (b + 1 - c - a * c) * _harmonic_difference(a, m)
    # p / t of it for the run, of which each of its p positives stands for one p-th
    return (expected / t).sum(1)


def recall(before: Tensor, positives: Tensor, negatives: Tensor, k: int) -> Tensor:
    """Probability that a positive is among the first k rows, [Q] in [0, 1].

    Args:
        before: [Q] a, rows before the run of the nearest positive, all negatives.
        positives: [Q] p >= 1 of that run.
        negatives: [Q] n of that run.
        k: >= 1.

    Returns:
        1 - C(n, j) / C(t, j) with j = k - a places of the run within the first k, at most t.

    >>> recall(torch.tensor([0]), torch.tensor([1]), torch.tensor([3]), 2)
    tensor([0.5000], dtype=torch.float64)
    """
    size = positives + negatives
    places = (k - before).clamp_min(0).minimum(size)
    # C(n, j) / C(t, j) = prod_{i<j} (t - p - i)/(t - i) = prod_{i<p} (t - j - i)/(t - i)
    few, many = places.minimum(positives), places.maximum(positives)
    miss = torch.ones(before.shape, dtype=torch.float64, device=before.device)
    for i in range(int(few.max()) if len(few) else 0):
        factor = (size - many - i).clamp_min(0).double() / (size - i).clamp_min(1)
        miss = torch.where(i < few, miss * factor, miss)
        if not (miss[i < few] > _NEGLIGIBLE).any():
            break
    return torch.where(miss > _NEGLIGIBLE, 1 - miss, 1.0)


def reciprocal_rank(
    before: Tensor, positives: Tensor, negatives: Tensor, *, last: bool = False
) -> Tensor:
    """Expected 1 / rank of the nearest positive of a run, [Q]; arguments as for `recall`.

    The sum over x = 1..n + 1 of P(the first positive is at place x of the run) / (a + x).

    Args:
        before: [Q] a, rows before the run.
        positives: [Q] p >= 1 of that run.
        negatives: [Q] n of that run.
        last: of the farthest positive of the run instead, at place x from its end.
    """
    # each different run once: where all rows coincide, all queries of a class have the same
    runs, which = torch.stack([before, positives, negatives]).unique(dim=1, return_inverse=True)
    before, positives, negatives = runs.double()
    size = positives + negatives
    # P(no positive among the first x - 1 places)
    none_yet = torch.ones_like(size)
    total = torch.zeros_like(size)
    for x in range(1, int(negatives.max()) + 2 if len(size) else 1):
        left = (size - x + 1).clamp_min(1)
        rank = before + size + 1 - x if last else before + x
        total += none_yet * positives / left / rank
        none_yet = none_yet * (negatives - x + 1).clamp_min(0) / left
        if not (none_yet > _NEGLIGIBLE).any():
            break
    return total[which]


def _harmonic_difference(a: Tensor, m: Tensor) -> Tensor:
    """H(a + m) - H(a) for whole a, m >= 0 in float64, without cancellation for large a."""
    small = torch.digamma(a + m + 1) - torch.digamma(a + 1)
    # H(x) = ln x + gamma + 1/(2x) - 1/(12x^2) + 1/(120x^4) - ...
    x = a.clamp_min(_SERIES_FROM)
    y = x + m
    # 1/x - 1/y = m/(xy), and so on for the powers
    first = m / (x * y)
    second, fourth = first * (x + y) / (x * y), first * (1 / x + 1 / y) * (x**-2 + y**-2)
    large = torch.log1p(m / x) - first / 2 + second / 12 - fourth / 120
    return torch.where(a < _SERIES_FROM, small, large)
