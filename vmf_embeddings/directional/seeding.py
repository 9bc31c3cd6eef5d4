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
    first = _choose(weights, 1, generator)
    chosen = [first]
    distance = 1 - x @ x[first[0]]
    for _ in range(1, n_centres):
        trials = _choose(distance.clamp_min(0).double() * weights, n_trials, generator)
        nearer = torch.minimum(1 - x @ x[trials].T, distance[:, None])
        potential = weights.to(x.dtype) @ nearer
        best = potential.argmin()
        distance = nearer[:, best].contiguous()
        chosen.append(trials[best][None])
    return x[torch.cat(chosen)]


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
