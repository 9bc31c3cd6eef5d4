"""Compiled log partition over von Mises-Fisher classes and its gradient; imports Numba.

The formulas are those of `partition` and `partition_tile`: three passes over the classes of one
draw or antithetic pair while they are in the cache. Logits are differences as of `normalizer`.
Arguments: m = mu.w and v = v.w [C]; a, s, r: cosine and sine of a draw's angle, and its
`mu_component_ratio`; `terms` [6, C], `class_ratio` [C]: see `distributions`; `ratio_change` [C]:
A(kappa_2) / kappa_2 - A(kappa_1) / kappa_1.
"""

import numpy as np
from numpy.typing import NDArray

from vmf_embeddings import native
from vmf_embeddings.directional.kernels.elementary import exponentials, ordered, unordered
from vmf_embeddings.directional.kernels.normalizer import FREE, FUSED, Coefficients, debye, three

Floats = NDArray[np.float32]
Wide = NDArray[np.float64]


# fmt: off
@native.compiled(fastmath=FREE)
def _debye_logits(
    m: Floats, v: Floats, a: np.float32, s: np.float32, beta: np.float32,
    order: np.float32, values: Coefficients, slopes: Coefficients, terms: Floats,
    logit: Floats, ratio_change: Floats,
) -> np.float32:
    # fmt: on
    """Fills the logits of one draw, and ratio_change unless it is empty; returns the largest."""
    highest = np.int32(-0x80000000)
    twice, square = np.float32(2) * beta, beta * beta
    with_change = len(ratio_change) > 0
    for c in range(len(logit)):
        delta = twice * (a * m[c] + s * v[c]) + square
        result, _, change = debye(
            delta, terms[0, c], terms[1, c], terms[2, c], terms[3, c], terms[4, c], terms[5, c],
            order, values, slopes,
        )  # fmt: skip
        logit[c] = result
        if with_change:
            ratio_change[c] = change
        key = ordered(result)
        highest = key if key > highest else highest
    return unordered(highest)


# fmt: off
@native.compiled(fastmath=FUSED)
def _three_logits(
    m: Floats, v: Floats, a: np.float32, s: np.float32, beta: np.float32,
    terms: Floats, logit: Floats, ratio_change: Floats,
) -> np.float32:
    # fmt: on
    """`_debye_logits` in three dimensions."""
    highest = np.int32(-0x80000000)
    twice, square = np.float32(2) * beta, beta * beta
    for c in range(len(logit)):
        delta = twice * (a * m[c] + s * v[c]) + square
        result, _, change = three(delta, terms[0, c], terms[1, c], terms[3, c], terms[4, c])
        logit[c] = result
        if len(ratio_change) > 0:
            ratio_change[c] = change
        key = ordered(result)
        highest = key if key > highest else highest
    return unordered(highest)


# fmt: off
@native.compiled(fastmath=FREE, forceinline=True)
def _pair(
    m: Floats, v: Floats, a: np.float32, s: np.float32, r: np.float32, beta: np.float32,
    e: Floats, ratio_change: Floats, plus: np.float32, minus: np.float32, class_ratio: Floats,
    grad_m: Floats, class_coeff: Floats, grad_norm: Floats,
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    # fmt: on
    """Last pass over an antithetic pair; e[0] plus and e[1] minus are weighted probabilities.

    Adds to grad_m, class_coeff and grad_norm, overwrites v by s O, with E and O as in `partition`;
    returns the sums over classes of E m, O m, O v and E.
    """
    even_mu, odd_mu, odd_v, grad_sum = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for c in range(len(m)):
        p, q = e[0, c] * plus, e[1, c] * minus
        t, u = p * ratio_change[0, c], q * ratio_change[1, c]
        grad_norm[c] += t + u
        t += p * class_ratio[c]
        u += q * class_ratio[c]
        even, odd = beta * (t + u), beta * (t - u)
        even_mu += even * m[c]
        odd_mu += odd * m[c]
        odd_v += odd * v[c]
        grad_sum += even
        grad_v = s * odd
        v[c] = grad_v
        grad_m[c] += a * even
        class_coeff[c] += a * even - r * grad_v
    return even_mu, odd_mu, odd_v, grad_sum


# fmt: off
@native.compiled(fastmath=FREE)
def _single(
    m: Floats, v: Floats, a: np.float32, s: np.float32, r: np.float32, beta: np.float32,
    e: Floats, ratio_change: Floats, plus: np.float32, class_ratio: Floats,
    grad_m: Floats, class_coeff: Floats, grad_norm: Floats,
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    # fmt: on
    """`_pair` for the one draw z = a mu + s v, where E = O."""
    along_mu, along_v, grad_sum = np.float32(0), np.float32(0), np.float32(0)
    for c in range(len(m)):
        p = e[c] * plus
        t = p * ratio_change[c]
        grad_norm[c] += t
        t = beta * (t + p * class_ratio[c])
        along_mu += t * m[c]
        along_v += t * v[c]
        grad_sum += t
        grad_v = s * t
        v[c] = grad_v
        grad_m[c] += a * t
        class_coeff[c] += a * t - r * grad_v
    return along_mu, along_mu, along_v, grad_sum


# fmt: off
@native.compiled(forceinline=True)
def _draw(
    m: Floats, v: Floats, a: np.float32, s: np.float32, beta: np.float32, is_3d: bool,
    order: np.float32, values: Coefficients, slopes: Coefficients, terms: Floats,
    e: Floats, ratio_change: Floats,
) -> tuple[float, float]:
    # fmt: on
    """Fills e = exp(logit - highest) and ratio_change; returns highest and log(sum of e)."""
    if is_3d:
        highest = _three_logits(m, v, a, s, beta, terms, e, ratio_change)
    else:
        highest = _debye_logits(m, v, a, s, beta, order, values, slopes, terms, e, ratio_change)
    return np.float64(highest), np.log(np.float64(exponentials(e, highest)))


# fmt: off
@native.compiled()
def add_images(
    dots: Floats, angle: Floats, r: Floats, log_sums: Wide, class_coeff: Floats,
    point_coeff: Floats, antithetic: bool, given: bool, draw_weight: np.float32, beta: np.float32,
    is_3d: bool, order: np.float32, values: Coefficients, slopes: Coefficients, terms: Floats,
    class_ratio: Floats, first: int, end: int,
) -> tuple[float, float, Floats]:
    # fmt: on
    """`Partition.block` for images first .. end - 1.

    Fills `class_coeff` [n, C] and `point_coeff` [1 + S, n]; `dots` [1 + S, n, C] and `angle` [S, n]
    are overwritten by their gradients. `log_sums` [1 or 2, S, n] are read where they are `given`.
    Returns the sum of the log partitions (0 where given), d/d beta and 2 d/d|w|^2 [C].
    """
    n_classes = dots.shape[2]
    e, ratio_change = np.empty((2, n_classes), np.float32), np.empty((2, n_classes), np.float32)
    grad_m, grad_norm = np.empty(n_classes, np.float32), np.zeros(n_classes, np.float32)
    value, grad_beta = 0.0, 0.0
    normalizer = (is_3d, order, values, slopes, terms)
    e0, e1, change0, change1 = e[0], e[1], ratio_change[0], ratio_change[1]
    for i in range(first, end):
        m, coeff = dots[0, i], class_coeff[i]
        for c in range(n_classes):
            grad_m[c] = coeff[c] = 0
        point_coeff[0, i] = 0
        outputs = (class_ratio, grad_m, coeff, grad_norm)
        for j in range(len(angle)):
            v, a, s, ratio = dots[j + 1, i], np.cos(angle[j, i]), np.sin(angle[j, i]), r[j, i]
            highest, log_sum = _draw(m, v, a, s, beta, *normalizer, e0, change0)
            if given:
                log_sum = log_sums[0, j, i] - highest
            else:
                value += highest + log_sum
            plus = draw_weight * np.float32(np.exp(-log_sum))
            if antithetic:
                highest, log_sum = _draw(m, v, a, -s, beta, *normalizer, e1, change1)
                if given:
                    log_sum = log_sums[1, j, i] - highest
                else:
                    value += highest + log_sum
                minus = draw_weight * np.float32(np.exp(-log_sum))
                even_mu, odd_mu, odd_v, grad_sum = _pair(
                    m, v, a, s, ratio, beta, e, ratio_change, plus, minus, *outputs
                )
            else:
                even_mu, odd_mu, odd_v, grad_sum = _single(
                    m, v, a, s, ratio, beta, e0, change0, plus, *outputs
                )
            grad_beta += grad_sum + (a * even_mu + s * odd_v) / beta
            minus_mu_g = -s * odd_mu  # - mu.G with G = s sum_c O_c w_c, see `partition_tile`
            point_coeff[0, i] += ratio * minus_mu_g
            point_coeff[j + 1, i] = minus_mu_g + ratio * s * odd_v
            angle[j, i] = a * odd_v - s * even_mu
        for c in range(n_classes):  # a plain loop: `m[:] = grad_m` takes seconds to compile
            m[c] = grad_m[c]
    return value, grad_beta, grad_norm


# fmt: off
@native.compiled()
def fill_log_sums(
    dots: Floats, angle: Floats, log_sums: Wide, draw_weight: np.float32, beta: np.float32,
    is_3d: bool, order: np.float32, values: Coefficients, slopes: Coefficients, terms: Floats,
    class_ratio: Floats, first: int, end: int,
) -> None:
    # fmt: on
    """`Partition.log_sums` for images first .. end - 1: fills `log_sums` [1 or 2, S, n]."""
    e, no_change = np.empty(dots.shape[2], np.float32), np.empty(0, np.float32)
    normalizer = (is_3d, order, values, slopes, terms)
    for i in range(first, end):
        for j in range(len(angle)):
            a, s = np.cos(angle[j, i]), np.sin(angle[j, i])
            for k in range(len(log_sums)):
                sign = s if k == 0 else -s
                highest, log_sum = _draw(
                    dots[0, i], dots[j + 1, i], a, sign, beta, *normalizer, e, no_change
                )
                log_sums[k, j, i] = highest + log_sum


# fmt: off
@native.compiled()
def add_draws(
    dots: Floats, draw_weight: np.float32, beta: np.float32, is_3d: bool, order: np.float32,
    values: Coefficients, slopes: Coefficients, terms: Floats, class_ratio: Floats,
    first: int, end: int,
) -> tuple[float, float, Floats]:
    # fmt: on
    """`Partition.draws` for rows first .. end - 1 of dots [n, C]; returns as `add_images` does."""
    n_classes = dots.shape[1]
    e, ratio_change = np.empty(n_classes, np.float32), np.empty(n_classes, np.float32)
    zeros, unused = np.zeros(n_classes, np.float32), np.zeros(n_classes, np.float32)
    grad_norm = np.zeros(n_classes, np.float32)
    value, grad_beta = 0.0, 0.0
    a, s = np.float32(0), np.float32(1)  # z = 0 mu + 1 v
    normalizer = (is_3d, order, values, slopes, terms)
    for i in range(first, end):
        v = dots[i]
        highest, log_sum = _draw(zeros, v, a, s, beta, *normalizer, e, ratio_change)
        value += highest + log_sum
        plus = draw_weight * np.float32(np.exp(-log_sum))
        _, _, along, grad_sum = _single(
            zeros, v, a, s, a, beta, e, ratio_change, plus, class_ratio, unused, unused, grad_norm
        )
        grad_beta += grad_sum + along / beta
    return value, grad_beta, grad_norm
