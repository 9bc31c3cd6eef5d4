"""First centres for clusters on the sphere: k-means++ with 1 - cosine as the squared distance.

Arthur and Vassilvitskii 2007, k-means++ (https://dl.acm.org/doi/10.5555/1283383.1283494), with the
greedy choice among a few candidates for each centre. |x - c|^2 / 2 = 1 - x.c for unit vectors.
"""

import math

import torch
from torch import Tensor

ROWS_PER_CENTRE = 10
LEAST_ROWS = 20_000  # of a sample that is drawn where there are more rows


def spherical_kmeans_plus_plus(
    x: Tensor,
    n_centres: int,
    weights: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Rows that lie far from one another, to start clustering from.

    Of more rows than max(20000, 10 K) a sample of that size is used, drawn with probabilities
    proportional to the weights.

    Args:
        x: unit vectors [N, D].
        n_centres: K, 1..N.
        weights: [N], >= 0; None = all equal.
        generator: source of randomness, on the CPU; None = the global one.

    Returns:
        [K, D], rows of `x`; rows repeat if fewer than K differ.

    >>> x = torch.eye(4).repeat(3, 1)
    >>> spherical_kmeans_plus_plus(x, 4, generator=torch.Generator().manual_seed(0)).sum(0)
    tensor([1., 1., 1., 1.])
    """
    x, weights = _sample(x, n_centres, weights, generator)
    n_trials = 2 + int(math.log(n_centres))
    # buffers: thousands of passing tensors between kept ones would leave the heap in pieces
    chosen = torch.empty(n_centres, dtype=torch.long, device=x.device)
    nearer = x.new_empty(len(x), n_trials)
    chosen[0] = _choose(weights, 1, generator)[0]
    distance = 1 - x @ x[chosen[0]]
    level, narrow = torch.empty_like(weights), weights.to(x.dtype)
    for i in range(1, n_centres):
        torch.mul(distance, weights, out=level)
        trials = _choose(level.clamp_min_(0), n_trials, generator)
        torch.mm(x, x[trials].T, out=nearer)
        torch.minimum(nearer.neg_().add_(1), distance[:, None], out=nearer)
        best = (narrow @ nearer).argmin()
        distance.copy_(nearer[:, best])
        chosen[i] = trials[best]
    return x[chosen]


def _sample(
    x: Tensor, n_centres: int, weights: Tensor | None, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """At most max(LEAST_ROWS, ROWS_PER_CENTRE K) rows, and their weights in float64."""
    n_rows = max(LEAST_ROWS, ROWS_PER_CENTRE * n_centres)
    if len(x) <= n_rows:
        ones = torch.ones(len(x), dtype=torch.float64, device=x.device)
        return x, ones if weights is None else weights.double()
    if weights is None:
        rows = torch.randperm(len(x), generator=generator)[:n_rows].to(x.device)
    else:
        rows = _choose(weights.double(), n_rows, generator)
    return x[rows], torch.ones(n_rows, dtype=torch.float64, device=x.device)


def _choose(weights: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """Row numbers [n], drawn with replacement in proportion to weights [N] in float64.

    `torch.multinomial` takes no more than 2^24 categories.
    """
    total = weights.cumsum(0)
    if not bool(total[-1] > 0):  # all rows are centres already
        total = torch.arange(1, len(weights) + 1, dtype=torch.float64, device=weights.device)
    level = torch.rand(n, generator=generator, dtype=torch.float64).to(total.device) * total[-1]
    return torch.searchsorted(total, level, right=True).clamp_max_(len(weights) - 1)
