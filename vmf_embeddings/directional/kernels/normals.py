"""Compiled Gaussian random numbers, and points of the sphere made from them; imports Numba.

Blackman and Vigna 2021, Scrambled Linear Pseudorandom Number Generators (xoshiro128++,
https://doi.org/10.1145/3460772), LANES generators side by side so that vector instructions apply;
Box and Muller 1958, A Note on the Generation of Random Normal Deviates
(https://doi.org/10.1214/aoms/1177706645). Numbers come in blocks whose generators start from
(seed, block) alone, so that the number of threads does not change results.
"""

import numpy as np
from numpy.typing import NDArray

from vmf_embeddings import native

LANES = 64
BLOCK = 2**14  # numbers in a block: 64 KB, which stay in the cache
_REORDER = {"contract", "reassoc", "nsz"}  # sums in any order
_FINITE = _REORDER | {"nnan", "ninf"}

Floats = NDArray[np.float32]
Words = NDArray[np.uint32]


@native.compiled()
def _start(state: Words, seed: int, block: int) -> None:
    """Seeds the generators of a block by splitmix64, as the authors of xoshiro advise."""
    word = np.uint64(seed) + np.uint64(block) * np.uint64(0xD1342543DE82EF95)
    for i in range(len(state)):
        word += np.uint64(0x9E3779B97F4A7C15)
        mixed = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state[i] = np.uint32((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(32))


@native.compiled()
def _rotated(word: np.uint32, by: int) -> np.uint32:
    """`word` rotated left by 1 to 31 bits."""
    return np.uint32((word << np.uint32(by)) | (word >> np.uint32(32 - by)))


@native.compiled(fastmath=_FINITE)
def _log(u: np.float32) -> np.float32:
    """Natural logarithm of a positive number, to float32 rounding."""
    bits = np.uint32(np.float32(u).view(np.uint32) - np.uint32(0x3F3504F3))  # bits of sqrt(1/2)
    exponent = np.float32(np.int32(bits) >> np.int32(23))
    mantissa = np.uint32((bits & np.uint32(0x007FFFFF)) + np.uint32(0x3F3504F3)).view(np.float32)
    x = mantissa - np.float32(1)
    # (log(1+x) - x + x^2/2) / x^3 from sqrt(1/2) to sqrt(2), within 3e-8 (Chebyshev fit)
    p = np.float32(7.149753890e-2)
    p = p * x + np.float32(-1.157120073e-1)
    p = p * x + np.float32(1.166151107e-1)
    p = p * x + np.float32(-1.241105068e-1)
    p = p * x + np.float32(1.424993653e-1)
    p = p * x + np.float32(-1.666848024e-1)
    p = p * x + np.float32(2.000070748e-1)
    p = p * x + np.float32(-2.499998905e-1)
    p = p * x + np.float32(3.333333119e-1)
    square = x * x
    tail = p * x * square - np.float32(0.5) * square
    return tail + x + exponent * np.float32(0.6931471805599453)


@native.compiled(fastmath=_FINITE)
def _pairs(out: Floats, state: Words) -> None:
    """Next 2 LANES Gaussian numbers; out[i] and out[LANES + i] are one pair of Box and Muller."""
    for i in range(LANES):
        a, b = state[i], state[LANES + i]
        c, d = state[2 * LANES + i], state[3 * LANES + i]
        first = np.uint32(_rotated(np.uint32(a + d), 7) + a)
        shifted = np.uint32(b << np.uint32(9))
        c ^= a
        d ^= b
        b ^= c
        a ^= d
        c ^= shifted
        d = _rotated(d, 11)
        second = np.uint32(_rotated(np.uint32(a + d), 7) + a)
        shifted = np.uint32(b << np.uint32(9))
        c ^= a
        d ^= b
        b ^= c
        a ^= d
        c ^= shifted
        d = _rotated(d, 11)
        state[i], state[LANES + i] = a, b
        state[2 * LANES + i], state[3 * LANES + i] = c, d
        # 30 bits for the radius, which is at most 6.56, and 2 bits for the quadrant
        u = (np.float32(np.int32(first >> np.uint32(2))) + np.float32(0.5)) * np.float32(2.0**-30)
        radius = np.sqrt(np.float32(-2) * _log(u))
        x = np.float32(np.int32(second)) * np.float32(np.pi / 2**33)  # in [-pi/4, pi/4)
        z = x * x
        cosine = np.float32(2.454799131e-5) * z + np.float32(-1.388830334e-3)
        cosine = (cosine * z + np.float32(4.166666466e-2)) * z * z - np.float32(0.5) * z
        cosine = cosine + np.float32(1)
        sine = np.float32(-1.958794987e-4) * z + np.float32(8.332748635e-3)
        sine = (sine * z + np.float32(-1.666666467e-1)) * z * x + x
        sign = np.uint32(first << np.uint32(31))
        cosine = np.uint32(np.float32(cosine).view(np.uint32) ^ sign).view(np.float32)
        swap = np.int32(np.uint32(first << np.uint32(30))) < 0
        out[i] = radius * (sine if swap else cosine)
        out[LANES + i] = radius * (cosine if swap else sine)


@native.compiled()
def _fill(out: Floats, seed: int, block: int, state: Words, incomplete: Floats) -> None:
    """Fills one block of any length; `incomplete` [2 LANES] is memory for the last pairs."""
    _start(state, seed, block)
    whole = len(out) - len(out) % (2 * LANES)
    for first in range(0, whole, 2 * LANES):
        _pairs(out[first : first + 2 * LANES], state)
    if whole < len(out):
        _pairs(incomplete, state)
        out[whole:] = incomplete[: len(out) - whole]


@native.compiled()
def fill_normals(out: Floats, seed: int, first: int, end: int) -> None:
    """Fills blocks first .. end - 1 of `out` [N] with standard normal numbers."""
    state, incomplete = np.empty(4 * LANES, np.uint32), np.empty(2 * LANES, np.float32)
    for block in range(first, end):
        _fill(out[block * BLOCK : (block + 1) * BLOCK], seed, block, state, incomplete)


@native.compiled(fastmath=_REORDER)
def _project(vector: Floats, mu: Floats) -> tuple[np.float32, np.float32]:
    """Subtracts (vector.mu) mu in place; returns vector.mu and the squared norm of the result."""
    along_mu = np.float32(0)
    for i in range(len(mu)):
        along_mu += vector[i] * mu[i]
    squared = np.float32(0)
    for i in range(len(mu)):
        vector[i] -= along_mu * mu[i]
        squared += vector[i] * vector[i]
    return along_mu, squared


@native.compiled(fastmath=_REORDER)
def fill_tangent_points(
    points: Floats,
    mu: Floats,
    cosine: Floats,
    sine: Floats,
    mu_component_ratio: Floats,
    twice: bool,
    seed: int,
    first: int,
    end: int,
) -> None:
    """Fills blocks first .. end - 1 of points [N, D], BLOCK // D rows each, at least one.

    Row n is cosine[n] mu[n % R] + sine[n] v for mu [R, D], v a Gaussian vector, projected to the
    tangent space once or `twice` and normalised; fills its mu_component_ratio[n], see `tangent`.
    """
    state, incomplete = np.empty(4 * LANES, np.uint32), np.empty(2 * LANES, np.float32)
    dim = points.shape[1]
    height = max(1, BLOCK // dim)
    for block in range(first, end):
        bottom = min((block + 1) * height, len(points))
        _fill(points[block * height : bottom].reshape(-1), seed, block, state, incomplete)
        for row in range(block * height, bottom):
            point, direction = points[row], mu[row % len(mu)]
            along_mu, squared = _project(point, direction)
            if twice:
                squared = _project(point, direction)[1]
            scale = np.float32(1) / np.sqrt(squared)
            mu_component_ratio[row] = along_mu * scale
            scale *= sine[row]
            for i in range(dim):
                point[i] = scale * point[i] + cosine[row] * direction[i]
