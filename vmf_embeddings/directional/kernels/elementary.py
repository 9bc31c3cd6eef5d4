"""Compiled logarithm and exponential in float32 that the compiler can vectorise; imports Numba.

Numba's own call a library once per number; these are a few multiplications, which LLVM turns into
vector instructions. The polynomials are fitted in `polynomials`.
"""

import numpy as np
from numpy.typing import NDArray

from vmf_embeddings import native
from vmf_embeddings.directional.kernels.polynomials import EXP_TAIL, LOG_TAIL

_FUSED = {"contract", "nsz"}  # fused multiply-add; the order of operations is kept
LOG2 = np.float32(np.log(2))


@native.compiled(fastmath=_FUSED)
def _log_tail(f: np.float32) -> np.float32:
    """log(1 + f) - f for 1 + f in [sqrt(1/2), sqrt(2)], to float32 rounding."""
    p = LOG_TAIL[0]
    for coefficient in LOG_TAIL[1:]:
        p = p * f + coefficient
    return f * f * (f * p - np.float32(0.5))


@native.compiled(fastmath=_FUSED)
def x_minus_log1p(x: np.float32) -> np.float32:
    """Difference x - log(1 + x) >= 0 for x > -1, about x^2 / 2 near 0, where nothing cancels."""
    bits = np.uint32(np.float32(np.float32(1) + x).view(np.uint32) - np.uint32(0x3F3504F3))
    exponent = np.int32(np.int32(bits) >> np.int32(23))
    scale = np.uint32(np.uint32(0x3F800000) - np.uint32(exponent << np.int32(23))).view(np.float32)
    f = x * scale + (scale - np.float32(1))  # 1 + x = (1 + f) 2^exponent
    return (x - f) - np.float32(exponent) * LOG2 - _log_tail(f)


@native.compiled(fastmath=_FUSED)
def log(x: np.float32) -> np.float32:
    """Natural logarithm of x > 0, to float32 rounding."""
    bits = np.uint32(np.float32(x).view(np.uint32) - np.uint32(0x3F3504F3))
    mantissa = np.uint32((bits & np.uint32(0x007FFFFF)) + np.uint32(0x3F3504F3)).view(np.float32)
    f, exponent = mantissa - np.float32(1), np.int32(np.int32(bits) >> np.int32(23))
    return np.float32(exponent) * LOG2 + (f + _log_tail(f))


@native.compiled(fastmath=_FUSED)
def exp(x: np.float32) -> np.float32:
    """Exponential of x <= 0, to float32 rounding; 0 for x < -50, as denormal numbers are slow."""
    shifted = x * np.float32(1.4426950408889634) + np.float32(12582912)
    n = shifted - np.float32(12582912)
    f = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = EXP_TAIL[0]
    for coefficient in EXP_TAIL[1:]:
        p = p * f + coefficient
    p = f * f * p + f + np.float32(1)
    power = np.uint32(np.float32(shifted).view(np.uint32) << np.uint32(23))
    value = np.uint32(np.float32(p).view(np.uint32) + power).view(np.float32)
    return np.float32(0) if x < np.float32(-50) else value


@native.compiled()
def ordered(x: np.float32) -> np.int32:
    """An integer with the order of x: maxima of integers vectorise, those of floats do not."""
    bits = np.int32(np.float32(x).view(np.int32))
    return np.int32(bits ^ np.int32((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@native.compiled()
def unordered(key: np.int32) -> np.float32:
    """The inverse of `ordered`."""
    return np.int32(key ^ np.int32((key >> np.int32(31)) & np.int32(0x7FFFFFFF))).view(np.float32)


@native.compiled(fastmath={*_FUSED, "reassoc"}, forceinline=True)
def exponentials(logit: NDArray[np.float32], highest: np.float32) -> np.float32:
    """Overwrites the logits by exp(logit - highest) and returns the sum."""
    total = np.float32(0)
    for c in range(len(logit)):
        logit[c] = exp(logit[c] - highest)
        total += logit[c]
    return total
