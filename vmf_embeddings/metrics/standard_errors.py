"""Standard errors of means: over rows, and over classes whose rows are alike.

Rows of one class share what makes it hard, so that new rows of the same classes answer another
question than new classes: the second has the larger error, and is the one to report where the
classes stand for others (cluster-robust errors, Liang & Zeger 1986).
"""

import math
from statistics import NormalDist

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_codes, as_float64

_NORMAL = NormalDist()


def error_over_rows(values: Array) -> float:
    """Standard error of the mean if other rows were drawn: sd / sqrt(N), sd with N - 1.

    Args:
        values: [N], of every row; those that are NaN are left out.

    Returns:
        NaN with fewer than two values.

    >>> error_over_rows([0, 1, 0, 1])
    0.28867513459481287
    """
    known = _known(as_float64(values))[0]
    return float(known.std() / len(known) ** 0.5) if len(known) > 1 else float("nan")


def error_over_classes(values: Array, classes: Array) -> float:
    """Standard error of the mean over rows if other classes of this kind were drawn.

    sqrt(C / (C - 1) sum_c (S_c - m n_c)^2) / N, with S_c the sum of the n_c values of class c, and
    m the mean of all N.

    Args:
        values: [N], of every row; those that are NaN are left out.
        classes: [N], of any sortable type.

    Returns:
        NaN with fewer than two classes.

    >>> error_over_classes([0, 0, 1, 1], ["a", "a", "b", "b"])
    0.5
    """
    known, kept = _known(as_float64(values))
    codes = as_codes(torch.as_tensor(as_codes(classes))[kept.cpu()]).to(known.device)
    return error_of_ratio(torch.bincount(codes, known), torch.bincount(codes))


def error_of_ratio(sums: Array, counts: Array) -> float:
    """Standard error of sum(sums) / sum(counts) if other classes of this kind were drawn.

    Args:
        sums: [C], S_c of every class, such as its pairs that are accepted.
        counts: [C], n_c >= 0, such as all its pairs; classes without any are left out.

    Returns:
        NaN with fewer than two classes.

    >>> error_of_ratio([0, 2], [2, 2])
    0.5
    """
    of_class, n_of_class = as_float64(sums), as_float64(counts)
    of_class, n_of_class = of_class[n_of_class > 0], n_of_class[n_of_class > 0]
    n_classes, n = len(n_of_class), n_of_class.sum()
    if n_classes < 2:
        return float("nan")
    residual = of_class - of_class.sum() / n * n_of_class
    return float((n_classes / (n_classes - 1) * residual.square().sum()).sqrt() / n)


def interval_95(
    value: float, error: float, low: float = 0.0, high: float = 1.0
) -> tuple[float, float]:
    """The 95 % interval value +/- 1.96 errors, cut at the ends of the score's range.

    Args:
        value: a score.
        error: its standard error; the interval is NaN where it is.
        low: least possible score.
        high: largest possible score.
    """
    if math.isnan(error):
        return math.nan, math.nan
    reach = _NORMAL.inv_cdf(0.975) * error
    return max(low, value - reach), min(high, value + reach)


def wilson_95(successes: float, n: float) -> tuple[float, float]:
    """The 95 % interval of a proportion near 0 or 1 (Wilson 1927), which never leaves [0, 1].

    Args:
        successes: number of n that succeeded, >= 0; it need not be whole.
        n: number of trials, > 0; where trials depend on one another, as many independent ones as
            have the same error.

    >>> tuple(round(end, 4) for end in wilson_95(10, 10))
    (0.7225, 1.0)
    """
    if not n > 0:
        return math.nan, math.nan
    z2, rate = _NORMAL.inv_cdf(0.975) ** 2, successes / n
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    reach = math.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return max(0.0, centre - reach), min(1.0, centre + reach)


def p_of_zero(difference: float, error: float) -> float:
    """Two-sided p-value that a difference of mean 0 and this standard error is as large.

    1 for no difference and no error, 0 for a difference without error; NaN where the error is.
    """
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    # erfc keeps the digits of small values
    return math.erfc(abs(difference) / error / math.sqrt(2))


def _known(values: Tensor) -> tuple[Tensor, Tensor]:
    kept = ~values.isnan()
    return values[kept], kept
