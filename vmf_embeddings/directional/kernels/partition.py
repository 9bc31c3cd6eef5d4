"""Machine code for the log partition over von Mises-Fisher classes and its gradient; imports Numba.

The formulas are those of `partition_tile`, three passes over the classes of one draw or pair while
they are in the cache. Debye's expansion (DLMF 10.41, https://dlmf.nist.gov/10.41) needs one
logarithm here: with s = sqrt(order^2 + kappa^2), p = order / s and x = (s2 - s1) / (order + s1),

    log C(kappa_1) / C(kappa_2) = s2 - s1 - (order + 1/2) log(1 + x) + U(p2) - U(p1),

where U(p) = V(p) + log(1 + p) / 2 is smooth on [0, 1]: one polynomial for every dimension.
"""

import numpy as np
from numpy.typing import NDArray

from vmf_embeddings import native
from vmf_embeddings.directional.kernels.elementary import exp, log, log1p, ordered, unordered
from vmf_embeddings.directional.kernels.polynomials import RATIO, SINHC

Floats = NDArray[np.float32]
Wide = NDArray[np.float64]
_FUSED = {"contract", "nsz"}  # multiply and add at once
_FREE = {*_FUSED, "reassoc"}  # sums in any order


# fmt: off
@native.compiled(fastmath=_FREE)
def _debye_logits(
    m: Floats, v: Floats, a: np.float32, s: np.float32, beta: np.float32,
    order: np.float32, values: Floats, slopes: Floats, laws: Floats,
    logit: Floats, rise: Floats,
) -> np.float32:
    # fmt: on
    """Logits of one draw, how far A / kappa rises to kappa_2 if wanted; the largest logit."""
    highest = np.int32(-0x80000000)
    twice, square = np.float32(2) * beta, beta * beta
    u0, u1, u2, u3, u4 = values[0], values[1], values[2], values[3], values[4]
    u5, u6, u7, u8, u9 = values[5], values[6], values[7], values[8], values[9]
    g0, g1, g2, g3, g4, g5, g6, g7 = (
        slopes[0], slopes[1], slopes[2], slopes[3], slopes[4], slopes[5], slopes[6], slopes[7],
    )
    steep, wanted = order + np.float32(0.5), len(rise) > 0
    for c in range(len(logit)):
        delta = twice * (a * m[c] + s * v[c]) + square
        s1 = laws[1, c]
        s2 = np.sqrt(laws[0, c] + delta)
        upper = s2 + order
        both = s2 * upper
        inverse = np.float32(1) / (both * (s1 + s2))
        step = delta * both * inverse
        outer = inverse * (s1 + s2)
        t = outer * upper  # 1 / s2
        p = np.float32(2) * order * t - np.float32(1)
        value = u0 * p + u1
        value = value * p + u2
        value = value * p + u3
        value = value * p + u4
        value = value * p + u5
        value = value * p + u6
        value = value * p + u7
        value = value * p + u8
        value = value * p + u9
        correction = g0 * p + g1
        correction = correction * p + g2
        correction = correction * p + g3
        correction = correction * p + g4
        correction = correction * p + g5
        correction = correction * p + g6
        correction = correction * p + g7
        result = step - steep * log1p(step * laws[2, c]) + (value - laws[3, c])
        logit[c] = result
        if wanted:
            rise[c] = laws[4, c] - t * t * correction - step * laws[2, c] * (outer * s2)
        key = ordered(result)
        highest = key if key > highest else highest
    return unordered(highest)


# fmt: off
@native.compiled(fastmath=_FUSED)
def _three_logits(
    m: Floats, v: Floats, a: np.float32, s: np.float32, beta: np.float32,
    laws: Floats, logit: Floats, rise: Floats,
) -> np.float32:
    # fmt: on
    """The same in three dimensions, where log C = log(kappa / sinh kappa) and A = coth - 1/kappa.

    laws [5, C]: kappa^2, kappa, nothing, log(sinh kappa / kappa) - kappa, A / kappa.
    """
    highest = np.int32(-0x80000000)
    one, twice, square = np.float32(1), np.float32(2) * beta, beta * beta
    for c in range(len(logit)):
        delta = twice * (a * m[c] + s * v[c]) + square
        q = max(laws[0, c] + delta, np.float32(1e-12))
        k = np.sqrt(q)
        e = exp(np.float32(-2) * k)
        near, ratio = SINHC[0], RATIO[0]
        for i in range(1, len(SINHC)):
            near = near * q + SINHC[i]
            ratio = ratio * q + RATIO[i]
        far = log((one - e) / (k + k))
        ratio = ratio if q < one else ((one + e) / (one - e) * k - one) / q
        value = near - k if q < one else far
        result = delta / (laws[1, c] + k) + (value - laws[3, c])
        logit[c] = result
        if len(rise) > 0:
            rise[c] = ratio - laws[4, c]
        key = ordered(result)
        highest = key if key > highest else highest
    return unordered(highest)


@native.compiled(fastmath=_FREE, forceinline=True)
def _exponentials(logit: Floats, highest: np.float32) -> np.float32:
    """Overwrites the logits by exp(logit - highest) and returns their sum."""
    total = np.float32(0)
    for c in range(len(logit)):
        e = exp(logit[c] - highest)
        logit[c] = e
        total += e
    return total


# fmt: off
@native.compiled(fastmath=_FREE, forceinline=True)
def _pair(
    m: Floats, v: Floats, a: np.float32, s: np.float32, lean: np.float32, beta: np.float32,
    e: Floats, rise: Floats, up: np.float32, down: np.float32, own: Floats,
    to_mu: Floats, turn: Floats, through: Floats,
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    # fmt: on
    """Last pass over z = a mu + s v and a mu - s v; e[0] up and e[1] down are probabilities."""
    even_mu, odd_mu, odd_v, pull = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for c in range(len(m)):
        p, q = e[0, c] * up, e[1, c] * down
        t, r = p * rise[0, c], q * rise[1, c]
        through[c] += t + r
        t += p * own[c]
        r += q * own[c]
        even, odd = beta * (t + r), beta * (t - r)
        even_mu += even * m[c]
        odd_mu += odd * m[c]
        odd_v += odd * v[c]
        pull += even
        to_v = s * odd
        v[c] = to_v
        to_mu[c] += a * even
        turn[c] += a * even - lean * to_v
    return even_mu, odd_mu, odd_v, pull


# fmt: off
@native.compiled(fastmath=_FREE)
def _single(
    m: Floats, v: Floats, a: np.float32, s: np.float32, lean: np.float32, beta: np.float32,
    e: Floats, rise: Floats, up: np.float32, own: Floats,
    to_mu: Floats, turn: Floats, through: Floats,
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    # fmt: on
    """Last pass over z = a mu + s v alone."""
    along_mu, along_v, pull = np.float32(0), np.float32(0), np.float32(0)
    for c in range(len(m)):
        p = e[c] * up
        t = p * rise[c]
        through[c] += t
        t = beta * (t + p * own[c])
        along_mu += t * m[c]
        along_v += t * v[c]
        pull += t
        to_v = s * t
        v[c] = to_v
        to_mu[c] += a * t
        turn[c] += a * t - lean * to_v
    return along_mu, along_mu, along_v, pull


# fmt: off
@native.compiled(forceinline=True)
def _draw(
    m: Floats, v: Floats, a: np.float32, s: np.float32, beta: np.float32, three: bool,
    order: np.float32, values: Floats, slopes: Floats, laws: Floats, e: Floats, rise: Floats,
) -> tuple[float, float]:
    # fmt: on
    """Exponentials e and rises of one draw; the log of e's unit, and that of the sum of e."""
    if three:
        highest = _three_logits(m, v, a, s, beta, laws, e, rise)
    else:
        highest = _debye_logits(m, v, a, s, beta, order, values, slopes, laws, e, rise)
    return np.float64(highest), np.log(np.float64(_exponentials(e, highest)))


# fmt: off
@native.compiled()
def add_images(
    table: Floats, angle: Floats, lean: Floats, logs: Wide, turn: Floats, parts: Floats,
    paired: bool, known: bool, share: np.float32, beta: np.float32, three: bool,
    order: np.float32, values: Floats, slopes: Floats, laws: Floats, own: Floats,
    first: int, end: int,
) -> tuple[float, float, Floats]:
    # fmt: on
    """Images first .. end - 1 of a block, see `Partition.block`.

    `turn` [n, C] and `parts` [1 + S, n] are filled in, `angle` is overwritten by its gradient;
    share, beta and what follows, up to the laws of the classes, come from `partition_compiled`.
    `logs` [1 or 2, S, n] are read where they are `known`.

    Returns:
        Sum of log partitions unless they are known, derivative with respect to beta, and that with
        respect to |w|^2, doubled.
    """
    n_classes = table.shape[2]
    e, rise = np.empty((2, n_classes), np.float32), np.empty((2, n_classes), np.float32)
    to_mu, through = np.empty(n_classes, np.float32), np.zeros(n_classes, np.float32)
    value, grad_beta = 0.0, 0.0
    law = (three, order, values, slopes, laws)
    e0, e1, rise0, rise1 = e[0], e[1], rise[0], rise[1]
    for i in range(first, end):
        m, turning = table[0, i], turn[i]
        for c in range(n_classes):
            to_mu[c] = turning[c] = 0
        parts[0, i] = 0
        for j in range(len(angle)):
            v, a, s, turned = table[j + 1, i], np.cos(angle[j, i]), np.sin(angle[j, i]), lean[j, i]
            unit, log = _draw(m, v, a, s, beta, *law, e0, rise0)
            if known:
                log = logs[0, j, i] - unit
            else:
                value += unit + log
            up = share * np.float32(np.exp(-log))
            if paired:
                unit, log = _draw(m, v, a, -s, beta, *law, e1, rise1)
                if known:
                    log = logs[1, j, i] - unit
                else:
                    value += unit + log
                down = share * np.float32(np.exp(-log))
                even_mu, odd_mu, odd_v, pull = _pair(
                    m, v, a, s, turned, beta, e, rise, up, down, own,
                    to_mu, turning, through,
                )  # fmt: skip
            else:
                even_mu, odd_mu, odd_v, pull = _single(
                    m, v, a, s, turned, beta, e0, rise0, up, own,
                    to_mu, turning, through,
                )  # fmt: skip
            grad_beta += pull + (a * even_mu + s * odd_v) / beta
            inward = -s * odd_mu  # how the gradient of v moves mu, as v stays tangent
            parts[0, i] += turned * inward
            parts[j + 1, i] = inward + turned * s * odd_v
            angle[j, i] = a * odd_v - s * even_mu
        for c in range(n_classes):  # a plain loop: `m[:] = to_mu` takes seconds to compile
            m[c] = to_mu[c]
    return value, grad_beta, through


# fmt: off
@native.compiled()
def log_partitions(
    table: Floats, angle: Floats, logs: Wide, share: np.float32, beta: np.float32, three: bool,
    order: np.float32, values: Floats, slopes: Floats, laws: Floats, own: Floats,
    first: int, end: int,
) -> None:
    # fmt: on
    """Fills in `logs` [1 or 2, S, n] of images first .. end - 1, see `Partition.logs`."""
    e, rise = np.empty(table.shape[2], np.float32), np.empty(0, np.float32)  # none is wanted
    for i in range(first, end):
        for j in range(len(angle)):
            a, s = np.cos(angle[j, i]), np.sin(angle[j, i])
            for k in range(len(logs)):
                sign = s if k == 0 else -s
                unit, log = _draw(
                    table[0, i], table[j + 1, i], a, sign, beta, three,
                    order, values, slopes, laws, e, rise,
                )  # fmt: skip
                logs[k, j, i] = unit + log


# fmt: off
@native.compiled()
def add_draws(
    table: Floats, share: np.float32, beta: np.float32, three: bool, order: np.float32,
    values: Floats, slopes: Floats, laws: Floats, own: Floats, first: int, end: int,
) -> tuple[float, float, Floats]:
    # fmt: on
    """Rows first .. end - 1 of given draws [n, C], see `Partition.draws` and `add_images`."""
    n_classes = table.shape[1]
    e, rise = np.empty(n_classes, np.float32), np.empty(n_classes, np.float32)
    nothing, spare = np.zeros(n_classes, np.float32), np.zeros(n_classes, np.float32)
    through = np.zeros(n_classes, np.float32)
    value, grad_beta = 0.0, 0.0
    a, s = np.float32(0), np.float32(1)
    for i in range(first, end):
        v = table[i]
        unit, log = _draw(nothing, v, a, s, beta, three, order, values, slopes, laws, e, rise)
        value += unit + log
        up = share * np.float32(np.exp(-log))
        _, _, along, pull = _single(
            nothing, v, a, s, a, beta, e, rise, up, own, spare, spare, through
        )
        grad_beta += pull + along / beta
    return value, grad_beta, through
