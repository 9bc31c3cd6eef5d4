"""Gaussian numbers: their distribution, their independence, and what determines them."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from vmf_embeddings import native
from vmf_embeddings.directional.normals import standard_normals_

N = 2**20


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return standard_normals_(torch.empty(*shape), torch.Generator().manual_seed(seed))


def test_moments_to_the_fourth_order(code):
    x = drawn(N).double()
    for power, variance in ((1, 1), (2, 2), (3, 15), (4, 96)):
        moment = (0, 1, 0, 3)[power - 1]
        assert abs(x.pow(power).mean().item() - moment) < 4.5 * math.sqrt(variance / N)


def test_distribution_function(code):
    x = drawn(200_000).double().numpy()
    assert stats.kstest(x, "norm").pvalue > 1e-3
    assert stats.kstest(x[x > 2], stats.truncnorm(2, math.inf).cdf).pvalue > 1e-3


def test_tails_hold_as_many_as_they_should(code):
    x = drawn(4 * N).double().abs()
    for border in (4.0, 4.5, 5.0):
        mean = 4 * N * math.erfc(border / math.sqrt(2))
        found = int((x > border).sum())
        assert stats.poisson.cdf(found, mean) > 1e-4
        assert stats.poisson.sf(found - 1, mean) > 1e-4


@pytest.mark.parametrize("lag", (1, 2, 16, 63, 64, 65, 128, 4096, 2**14))
def test_neighbours_are_independent(code, lag):
    """A table of quantiles of both: a lag of 64 is that of a pair of Box and Muller."""
    x = drawn(N + lag)
    edges = torch.tensor(stats.norm.ppf(np.arange(1, 10) / 10)).float()
    bins = torch.bucketize(x, edges)
    table = torch.bincount(bins[:-lag] * 10 + bins[lag:], minlength=100).numpy()
    assert stats.chisquare(table).pvalue > 1e-4


def test_streams_are_independent(code):
    """Correlations of blocks, of consecutive calls and of neighbouring seeds."""
    generator = torch.Generator().manual_seed(0)
    calls = [standard_normals_(torch.empty(2**15), generator) for _ in range(8)]
    seeds = [drawn(2**15, seed=s) for s in range(1, 9)]
    rows = torch.cat(calls + seeds).view(-1, 2**14).double()
    for powers in (rows, rows.square()):
        correlation = torch.corrcoef(powers) - torch.eye(len(rows))
        assert correlation.abs().max() < 5 / 2**7


def test_nothing_repeats(code):
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([standard_normals_(torch.empty(5 * 2**14 + 7), generator) for _ in range(4)])
    heads = x.unfold(0, 3, 1)  # a repeated part of a stream would repeat triples
    assert len(heads.unique(dim=0)) == len(heads)


def test_the_generator_alone_determines_the_numbers(code):
    first = drawn(3, 50_000)
    torch.manual_seed(5)
    assert torch.equal(drawn(3, 50_000), first)
    assert not torch.equal(drawn(3, 50_000, seed=1), first)
    torch.manual_seed(7)
    one = standard_normals_(torch.empty(100))
    torch.manual_seed(7)
    assert torch.equal(standard_normals_(torch.empty(100)), one)


def test_threads_change_nothing(code):
    first = drawn(2**17 + 1)
    try:
        torch.set_num_threads(3)
        assert torch.equal(drawn(2**17 + 1), first)
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("n", (0, 1, 127, 128, 129, 2**14 + 1))
def test_any_length_is_filled(code, n):
    x = standard_normals_(torch.full((n,), torch.nan), torch.Generator().manual_seed(0))
    assert x.isfinite().all()


def test_any_layout_and_dtype_is_filled(code):
    for out in (torch.zeros(300, 200).T, torch.zeros(60_000).double(), torch.zeros(400, 400)[::2]):
        x = standard_normals_(out, torch.Generator().manual_seed(0))
        assert x is out
        assert abs(x.double().std().item() - 1) < 0.02


def splitmix64(seed: int, n: int) -> list[int]:
    mask, words = 2**64 - 1, []
    for i in range(1, n + 1):
        x = seed + i * 0x9E3779B97F4A7C15 & mask
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & mask
        x = (x ^ x >> 27) * 0x94D049BB133111EB & mask
        words.append((x ^ x >> 31) >> 32)
    return words


def xoshiro128pp(s: list[int]) -> int:
    """The next word; advances the state."""

    def rotate(x: int, k: int) -> int:
        return (x << k | x >> 32 - k) & 0xFFFFFFFF

    word = rotate(s[0] + s[3] & 0xFFFFFFFF, 7) + s[0] & 0xFFFFFFFF
    shifted = s[1] << 9 & 0xFFFFFFFF
    s[2] ^= s[0]
    s[3] ^= s[1]
    s[1] ^= s[2]
    s[0] ^= s[3]
    s[2] ^= shifted
    s[3] = rotate(s[3], 11)
    return word


@pytest.mark.skipif(not native.enabled(), reason="Numba is not installed or switched off")
def test_compiled_numbers_equal_a_slow_reference():
    from vmf_embeddings.directional.kernels import normals as kernel

    out, seed, lanes = np.empty(6 * kernel.LANES, np.float32), 2**62 + 12345, kernel.LANES
    kernel.fill_normals(out, seed, 0, 1)
    words = splitmix64(seed, 4 * lanes)
    for lane in (0, 1, lanes - 1):
        state = words[lane::lanes]
        for step in range(3):
            first, second = xoshiro128pp(state), xoshiro128pp(state)
            radius = math.sqrt(-2 * math.log(((first >> 2) + 0.5) / 2**30))
            angle = (second - (2**32 if second >= 2**31 else 0)) / 2**32 * math.pi / 2
            pair = [(1 - 2 * (first & 1)) * radius * math.cos(angle), radius * math.sin(angle)]
            where = 2 * lanes * step + lane
            found = [float(out[where]), float(out[where + lanes])]
            assert found == pytest.approx(pair[:: -1 if first & 2 else 1], rel=2e-6, abs=1e-7)
