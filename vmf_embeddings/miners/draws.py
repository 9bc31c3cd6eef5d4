"""Random choices in all rows of a matrix at once."""

import torch
from torch import Tensor


def uniform(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform numbers in [0, 1), float64 of the given shape, drawn on the generator's device."""
    device = like.device if generator is None else generator.device
    drawn = torch.rand(shape, generator=generator, device=device, dtype=torch.float64)
    return drawn.to(like.device)


def choose(allowed: Tensor, generator: torch.Generator | None) -> Tensor:
    """One column per row, uniformly among the allowed ones.

    Args:
        allowed: bool [R, B].
        generator: for the random choices.

    Returns:
        int64 [R]; 0 for a row without allowed columns.
    """
    keys = uniform(tuple(allowed.shape), allowed, generator)
    return keys.masked_fill_(~allowed, -1.0).argmax(1)


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
