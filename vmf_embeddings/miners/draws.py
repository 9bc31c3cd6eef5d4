"""Random choices in many rows at once."""

import torch
from torch import Tensor


def uniform(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Numbers in [0, 1), float64, drawn on the generator's device and moved to that of `like`."""
    device = like.device if generator is None else generator.device
    drawn = torch.rand(shape, generator=generator, device=device, dtype=torch.float64)
    return drawn.to(like.device)


def choose(allowed: Tensor, generator: torch.Generator | None) -> Tensor:
    """In each row a column, all allowed ones alike.

    Args:
        allowed: bool [R, B].
        generator: of the draws.

    Returns:
        int64 [R]; 0 in a row where nothing is allowed.
    """
    keys = uniform(tuple(allowed.shape), allowed, generator)
    return keys.masked_fill_(~allowed, -1.0).argmax(1)


def choose_by_weight(log_weights: Tensor, generator: torch.Generator | None) -> Tensor:
    """In each row a column, in proportion to its weight.

    The largest log weight minus log of an exponential variable (Gumbel's maximum): weights may be
    hundreds of orders of magnitude apart.

    Args:
        log_weights: float64 [R, B]; -inf = never.
        generator: of the draws.

    Returns:
        int64 [R]; 0 in a row of -inf alone.
    """
    tiny = torch.finfo(torch.float64).tiny
    waits = -torch.log1p(-uniform(tuple(log_weights.shape), log_weights, generator))
    return (log_weights - waits.clamp_min(tiny).log()).argmax(1)  # log 0 would beat -inf to NaN


def distinct(n: int, k: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """min(n, k) different numbers below n, all sets and orders alike.

    Where n is large: the first k different ones of a sequence of independent draws.

    Args:
        n: >= 0.
        k: >= 0.
        like: says the device of the result.
        generator: of the draws.

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
