"""Hashes of many short texts at once, the same on every machine; not against an adversary."""

import functools

import numpy as np

_FACTOR = 0x9E3779B97F4A7C15  # odd, of the hashes of paths
_INVERSE = pow(_FACTOR, -1, 2**64)


def hashes_of(content: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """A hash of each text, uint64 [N]: sum over its bytes of (byte + 1) F^place, modulo 2^64.

    Args:
        content: uint8, the texts, each followed by one byte that does not count.
        ends: [N], where these bytes lie.
    """
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])
    sums = np.zeros(len(content) + 1, np.uint64)  # before each byte, times F^place in the content
    terms = (content.astype(np.uint64) + np.uint64(1)) * _powers(_FACTOR, len(content))
    np.cumsum(terms, out=sums[1:])
    return (sums[ends] - sums[starts]) * _powers(_INVERSE, len(content))[starts]


def _powers(base: int, n: int) -> np.ndarray:
    """1, F, F^2, … modulo 2^64, [n]."""
    return _many_powers(base, 1 << (n - 1).bit_length())[:n]


@functools.cache
def _many_powers(base: int, n: int) -> np.ndarray:
    factors = np.full(n, base, np.uint64)
    factors[0] = 1
    return np.cumprod(factors)


def forget_powers() -> None:
    """Gives the memory back that `hashes_of` keeps between its calls."""
    _many_powers.cache_clear()
