"""Compiled differences of log normalisers over tables, and cross-entropies of them; imports Numba.

One pass over a row gives the difference F = log C(kappa_1) - log C(kappa_2), A(kappa_2) / kappa_2
= 2 h and by how much that is more than at kappa_1; the other passes need no more, while the row is
in the cache. `terms` [6, C] belongs to kappa_1 of the columns, see `distributions`.
"""

import numpy as np
from numpy.typing import NDArray

from vmf_embeddings import native
from vmf_embeddings.directional.kernels.elementary import exponentials, ordered, unordered
from vmf_embeddings.directional.kernels.normalizer import FREE, Coefficients, debye

Floats = NDArray[np.float32]


# fmt: off
@native.compiled(fastmath=FREE)
def _row(
    dots: Floats, scale: np.float32, offset: np.float32, order: np.float32,
    values: Coefficients, slopes: Coefficients, terms: Floats,
    difference: Floats, ratio: Floats, ratio_change: Floats,
) -> None:
    # fmt: on
    """Fills all three for delta = scale dots + offset."""
    for c in range(len(dots)):
        difference[c], ratio[c], ratio_change[c] = debye(
            scale * dots[c] + offset, terms[0, c], terms[1, c], terms[2, c], terms[3, c],
            terms[4, c], terms[5, c], order, values, slopes,
        )  # fmt: skip


# fmt: off
@native.compiled()
def fill_differences(
    delta: Floats, out: Floats, order: np.float32, values: Coefficients,
    slopes: Coefficients, terms: Floats, class_ratio: Floats, left: int, first: int, end: int,
) -> None:
    # fmt: on
    """Fills F in `out` [R, N] from `delta` [R, N], rows first .. end - 1, columns from `left` on.

    `terms` and `class_ratio` are those of the columns from `left` on, as many as there are.
    """
    n, one, zero = len(class_ratio), np.float32(1), np.float32(0)
    unused = np.empty((2, n), np.float32)
    for i in range(first, end):
        columns = delta[i, left : left + n]
        _row(
            columns, one, zero, order, values, slopes, terms,
            out[i, left : left + n], unused[0], unused[1],
        )  # fmt: skip


@native.compiled(fastmath=FREE, forceinline=True)
def _times_slope(
    grad: Floats, ratio: Floats, ratio_change: Floats, out: Floats, change: Floats
) -> None:
    for c in range(len(grad)):
        half = np.float32(0.5) * grad[c]
        change[c] += half * ratio_change[c]
        out[c] = half * ratio[c]


# fmt: off
@native.compiled()
def fill_gradients(
    delta: Floats, grad: Floats, out: Floats, order: np.float32,
    values: Coefficients, slopes: Coefficients, terms: Floats, class_ratio: Floats,
    left: int, first: int, end: int,
) -> Floats:
    # fmt: on
    """Fills `out` [R, N] with grad dF/d delta = grad h(kappa_2^2); arguments as above.

    Returns the sums over these rows of grad dF/d kappa_1^2 = grad (h(kappa_2^2) - h(kappa_1^2)).
    """
    n, one, zero = len(class_ratio), np.float32(1), np.float32(0)
    unused, ratio = np.empty(n, np.float32), np.empty(n, np.float32)
    ratio_change, change = np.empty(n, np.float32), np.zeros(n, np.float32)
    for i in range(first, end):
        columns = delta[i, left : left + n]
        _row(columns, one, zero, order, values, slopes, terms, unused, ratio, ratio_change)
        _times_slope(
            grad[i, left : left + n], ratio, ratio_change, out[i, left : left + n], change
        )
    return change


@native.compiled(fastmath=FREE, forceinline=True)
def _logits(difference: Floats, beta: np.float32, prior: Floats, logit: Floats) -> np.float32:
    """Fills beta F + prior and returns the largest."""
    highest = np.int32(-0x80000000)
    for c in range(len(logit)):
        logit[c] = beta * difference[c] + prior[c]
        key = ordered(logit[c])
        highest = key if key > highest else highest
    return unordered(highest)


# fmt: off
@native.compiled(fastmath=FREE, forceinline=True)
def _backward(
    e: Floats, inverse: np.float32, difference: Floats, ratio: Floats, ratio_change: Floats,
    out: Floats, sum_change: Floats,
) -> tuple[np.float32, np.float32]:
    # fmt: on
    """Fills P = G h(kappa_2^2), G = inverse e; returns the sums of G F and of P."""
    along, total = np.float32(0), np.float32(0)
    for c in range(len(e)):
        g = inverse * e[c]
        along += g * difference[c]
        half = np.float32(0.5) * g
        sum_change[c] += half * ratio_change[c]
        out[c] = half * ratio[c]
        total += out[c]
    return along, total


# fmt: off
@native.compiled()
def cross_entropy_rows(
    table: Floats, lengths: Floats, labels: NDArray[np.int64], beta: np.float32, prior: Floats,
    of_images: Floats, order: np.float32, values: Coefficients, slopes: Coefficients,
    terms: Floats, class_ratio: Floats, first: int, end: int,
) -> tuple[float, float, Floats]:
    # fmt: on
    """Cross-entropy of beta F + prior for kappa_2^2 = kappa_1^2 + lengths + 2 table.

    Overwrites the dot products `table` [B, C] by P = G h(kappa_2^2), G = softmax - one-hot, and
    fills `of_images` [B] with the sums of P over the classes, both for images first .. end - 1;
    lengths and labels [B], prior [C]. Returns the sums over these images of the loss, of G F, and
    of G (h(kappa_2^2) - h(kappa_1^2)) for every class [C].
    """
    n = table.shape[1]
    difference, ratio = np.empty(n, np.float32), np.empty(n, np.float32)
    ratio_change = np.empty(n, np.float32)
    e, sum_change = np.empty(n, np.float32), np.zeros(n, np.float32)
    loss, grad_beta = 0.0, 0.0
    for i in range(first, end):
        row, y = table[i], labels[i]
        _row(
            row, np.float32(2), lengths[i], order, values, slopes, terms, difference,
            ratio, ratio_change,
        )  # fmt: skip
        highest = _logits(difference, beta, prior, e)
        loss += np.float64(highest) - np.float64(e[y])
        total = exponentials(e, highest)
        loss += np.log(np.float64(total))
        e[y] -= total
        along, of_images[i] = _backward(
            e, np.float32(1) / total, difference, ratio, ratio_change, row, sum_change
        )
        grad_beta += np.float64(along)
    # what is no number anywhere makes the loss no number: maxima may pass over it
    return loss + 0.0 * grad_beta, grad_beta, sum_change
