"""Random choices in all rows of a matrix at once."""

import torch
from torch import Tensor

EXTRA_DRAWS = 64  # in `distinct_masked`, so that none is missing even where k is small


def uniform(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform numbers in [0, 1), float64 of the given shape, drawn on the generator's device."""
    device = like.device if generator is None else generator.device
    drawn = torch.rand(shape, generator=generator, device=device, dtype=torch.float64)
    return drawn.to(like.device)


def choose(allowed: Tensor, generator: torch.Generator | None) -> Tensor:
    """One column per row, uniformly among the allowed ones.

    Args:
        allowed: bool [.., R, B].
        generator: for the random choices.

    Returns:
        int64 [.., R]; 0 for a row without allowed columns.
    """
    keys = uniform(tuple(allowed.shape), allowed, generator)
    return keys.masked_fill_(~allowed, -1.0).argmax(-1)


def choose_by_weight(log_weights: Tensor, generator: torch.Generator | None) -> Tensor:
    """One column per row, with probability proportional to its weight (Gumbel-max trick).

    The argmax of log w_i - log e_i with e_i from the standard exponential distribution; it works
    for weights that differ by hundreds of orders of magnitude.

    Args:
        log_weights: float64 [R, B]; -inf = never chosen.
        generator: for the random choices.

    Returns:
        int64 [R]; 0 for a row with only -inf.
    """
    tiny = torch.finfo(torch.float64).tiny
    exponentials = -torch.log1p(-uniform(tuple(log_weights.shape), log_weights, generator))
    return (log_weights - exponentials.clamp_min(tiny).log()).argmax(1)  # -inf + inf would be NaN


def distinct(n: int, k: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Sample of min(n, k) different integers in [0, n), without replacement, in random order.

    For n >= 4 k it takes the first k different values of a sequence of independent draws.

    Args:
        n: >= 0.
        k: >= 0.
        like: tensor on the device of the result.
        generator: for the random choices.

    Returns:
        int64 [min(n, k)].
    """
    if n < 4 * k:
        return uniform((n,), like, generator).argsort()[:k]
    drawn = torch.empty(0, dtype=torch.int64, device=like.device)
    while True:
        more = (uniform((2 * k,), like, generator) * n).long()
        drawn = torch.cat([drawn, more])
        values, place = drawn.unique(return_inverse=True)
        first = torch.full_like(values, len(drawn))
        first.scatter_reduce_(0, place, torch.arange(len(drawn), device=like.device), "amin")
        if len(first) >= k:
            return drawn[first.sort().values[:k]]


def distinct_masked(n: Tensor, k: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """`distinct` for a number on the device, which is not waited for.

    The numbers of `distinct` with the same draws of a CPU generator. It draws as many numbers as
    any n may need; k different ones of 2 k + 64 draws from 4 k or more are missing with a
    probability below 1e-45.

    Args:
        n: >= 0, int64 [].
        k: >= 1.
        generator: for the random choices.

    Returns:
        int64 [k] on the device of `n`, and which of them count, bool [k]: min(n, k) do, first of
        all; the others are 0.
    """
    places = torch.arange(4 * k + EXTRA_DRAWS, device=n.device)
    draws = uniform(tuple(places.shape), n, generator)
    shuffled = draws.masked_fill(places >= n, torch.inf).argsort()[:k]
    numbers = (draws[: 2 * k + EXTRA_DRAWS] * n).long()
    values, order = numbers.sort(stable=True)
    first_of_equals = values.diff(prepend=values[:1] - 1) != 0
    is_new = torch.zeros_like(first_of_equals).scatter(0, order, first_of_equals)
    chosen = (~is_new).byte().argsort(stable=True)[:k]  # the new ones, in the order of the draws
    few = n < 4 * k
    valid = torch.where(few, places[:k] < n, is_new[chosen])
    return torch.where(few, shuffled, numbers[chosen]).masked_fill(~valid, 0), valid
