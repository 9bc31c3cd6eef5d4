"""Tests of two runs on the same rows: by the signs of differences, and by flipping them.

The sign test of 0/1 scores is McNemar's exact test (1947). Flipping signs is Fisher's randomisation
test (1935); whole classes are flipped where rows of a class are not independent. The probability of
random flips is (1 + #) / (1 + B), which is never 0 (Phipson & Smyth 2010).
"""

import itertools
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_codes, as_float64

MOST_EXACT = 12  # units up to which all 2^n flips are taken
_BLOCK_ELEMENTS = 2**18
_ROUNDING = 1e-12  # of sums of float64: flips that give the sum itself must not fall below it


@dataclass(frozen=True)
class Signs:
    """How many rows are better, worse and equal in the second of two runs.

    Args:
        n_better: rows with a positive difference.
        n_worse: rows with a negative one.
        n_equal: rows without a difference.
    """

    n_better: int
    n_worse: int
    n_equal: int

    @cached_property
    def p(self) -> float:
        """Two-sided probability of signs as unequal as these by chance; equal rows left out."""
        from scipy.stats import binom

        fewer, n = min(self.n_better, self.n_worse), self.n_better + self.n_worse
        return min(1.0, 2 * float(binom.cdf(fewer, n, 0.5))) if n else 1.0


def signs(differences: Array) -> Signs:
    """Counts the signs of differences [N] of rows; those that are NaN are left out.

    >>> signs([0.5, -0.1, 0.0, 0.2]), signs([1, 1, 1]).p
    (Signs(n_better=2, n_worse=1, n_equal=1), 0.25)
    """
    values = as_float64(differences)
    return Signs(int((values > 0).sum()), int((values < 0).sum()), int((values == 0).sum()))


def sign_flip_p(
    differences: Array, classes: Array | None = None, n_draws: int = 2000, seed: int = 1234
) -> Tensor:
    """Two-sided probability that sums of differences are as large if their signs were by chance.

    Exact, over all flips, for at most `MOST_EXACT` units with a difference.

    Args:
        differences: [N], or [K, N] of several scores, which share the random flips; NaN left out.
        classes: [N], whose rows are flipped together; None = each row by itself.
        n_draws: random flips.
        seed: of them.

    Returns:
        Float64 [] or [K], in (0, 1]; 1 where no unit differs.

    >>> sign_flip_p([1, 1, 1])
    tensor(0.2500, dtype=torch.float64)
    """
    given = as_float64(differences)
    sums = _sums(given.reshape(-1, given.shape[-1]).nan_to_num(), classes)
    p_values = torch.ones(len(sums), dtype=torch.float64)
    differing = (sums != 0).sum(1)
    many = (differing > MOST_EXACT).nonzero().squeeze(1)
    for line in ((differing > 0) & (differing <= MOST_EXACT)).nonzero().squeeze(1).tolist():
        p_values[line] = _exact(sums[line][sums[line] != 0])
    if len(many):
        p_values[many] = _random(sums[many], n_draws, seed)
    return p_values.reshape(given.shape[:-1])


def _sums(values: Tensor, classes: Array | None) -> Tensor:
    """Sums [K, C] over the rows of every class, of values [K, N]."""
    if classes is None:
        return values
    codes = as_codes(classes)
    return torch.stack([torch.bincount(codes, line) for line in values])


def _least(sums: Tensor) -> Tensor:
    """The size [K] of a sum that counts as at least as large as that of `sums` [K, C]."""
    return sums.sum(1).abs() - _ROUNDING * sums.abs().sum(1)


def _exact(units: Tensor) -> float:
    every = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=len(units))))
    return float(((every.double() @ units).abs() >= _least(units[None])).double().mean())


def _random(sums: Tensor, n_draws: int, seed: int) -> Tensor:
    generator, count = torch.Generator().manual_seed(seed), torch.ones(len(sums))
    step = max(1, _BLOCK_ELEMENTS // sums.shape[1])
    for start in range(0, n_draws, step):
        shape = (min(step, n_draws - start), sums.shape[1])
        flips = 2 * torch.randint(2, shape, generator=generator, dtype=torch.float64) - 1
        count += ((flips @ sums.T).abs() >= _least(sums)).sum(0)
    return count.double() / (1 + n_draws)
