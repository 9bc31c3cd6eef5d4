"""Triton code of the log partition over von Mises-Fisher classes and its gradient; imports Triton.

The elementwise part of `partition`, whose head states the derivatives, in three launches: constants
of the classes, sums over them, derivatives. One program works on a tile of images by classes, in
float32; sums over classes or images are written per tile and added by the caller, so that results
do not depend on the order of programs. Loop bounds and the coefficients of the expansion
(`bessel.Expansion`) are compile-time constants: one compilation per dimension. Formulas:
`log_normalizer._Debye`.

Arguments of the last two: dot products mu.w [n, C] and v.w [S, n, C], `terms` [4, C] of the
classes (order^2 + kappa^2, its root s_1, 1 / s_1 and what is subtracted from the logit), cosine and
sine of the angles [S, n], beta [1].
"""

# ruff: noqa: ANN001, ANN201, ANN202 - Triton traces the arguments: pointers, tensors, numbers
import triton
import triton.language as tl


@triton.jit
def _polynomial(p, coefficients: tl.constexpr, lowest: tl.constexpr):
    """The polynomial lowest + sum_m coefficients[m - 1] p^m."""
    n: tl.constexpr = len(coefficients)
    value = tl.zeros_like(p) + coefficients[n - 1]
    for i in tl.static_range(n - 1):
        value = value * p + coefficients[n - 2 - i]
    return value * p + lowest


@triton.jit
def _log1p(x):
    """log(1 + x), accurate near 0 (Kahan): the rounding error of 1 + x cancels in the ratio."""
    u = 1.0 + x
    change = u - 1.0
    return tl.where(change == 0.0, x, tl.log(u) * (x / tl.where(change == 0.0, 1.0, change)))


@triton.jit
def _correction(s, order: tl.constexpr, slopes: tl.constexpr):
    """(1/2 + p V'(p)) / s^2, p = order / s: A(kappa) / kappa is 1 / (order + s) minus that."""
    t = 1.0 / s
    return t * t * _polynomial(order * t, slopes, 0.5)


@triton.jit
def terms_kernel(
    weights, terms, n_classes, dim: tl.constexpr, order: tl.constexpr, values: tl.constexpr,
    classes_of_tile: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    """Fills `terms` [4, C] from class weights [C, D], in float64."""
    classes = tl.program_id(0) * classes_of_tile + tl.arange(0, classes_of_tile)
    is_class, rows = classes < n_classes, classes.to(tl.int64)[:, None] * dim
    base = tl.zeros([classes_of_tile], tl.float64) + order * order
    for first in range(0, dim, width):
        columns = first + tl.arange(0, width)
        inside = is_class[:, None] & (columns < dim)[None, :]
        w = tl.load(weights + rows + columns[None, :], mask=inside, other=0.0).to(tl.float64)
        base += tl.sum(w * w, 1)
    root = tl.sqrt(base)
    tl.store(terms + classes, base.to(tl.float32), mask=is_class)
    tl.store(terms + n_classes + classes, root.to(tl.float32), mask=is_class)
    tl.store(terms + 2 * n_classes + classes, (1.0 / root).to(tl.float32), mask=is_class)
    value = _polynomial(order / root, values, 0.0)
    tl.store(terms + 3 * n_classes + classes, value.to(tl.float32), mask=is_class)


@triton.jit
def _terms(terms, classes, n_classes):
    """The four constants of some classes; those beyond the last are harmless."""
    inside = classes < n_classes
    base = tl.load(terms + classes, mask=inside, other=1.0)
    root = tl.load(terms + n_classes + classes, mask=inside, other=1.0)
    inverse_root = tl.load(terms + 2 * n_classes + classes, mask=inside, other=1.0)
    constant = tl.load(terms + 3 * n_classes + classes, mask=inside, other=0.0)
    return base[None, :], root[None, :], inverse_root[None, :], constant[None, :]


@triton.jit
def _logit(
    draw_dots, beta, base, root, inverse_root, constant,
    order: tl.constexpr, values: tl.constexpr,
):  # fmt: skip
    """Logits from the dot products z.w, s_2 = sqrt(order^2 + |w + beta z|^2), and s_2 - s_1."""
    delta = 2.0 * beta * draw_dots + beta * beta
    # rounding may make it negative where w + beta z is nearly 0 and the order is small
    s2 = tl.sqrt(tl.maximum(base + delta, order * order))
    change = delta / (s2 + root)
    value = _polynomial(order / s2, values, 0.0) - constant
    logs = 0.5 * tl.log(s2 * inverse_root) + order * _log1p(change * (1.0 / (order + root)))
    return change - logs + value, s2, change


@triton.jit
def _online(logit, highest, total):
    """Adds logits [images, classes] to their running maximum and sum of exp(logit - maximum)."""
    new = tl.maximum(highest, tl.max(logit, 1))
    return new, total * tl.exp(highest - new) + tl.sum(tl.exp(logit - new[:, None]), 1)


@triton.jit
def log_sums_kernel(
    mu_dots, v_dots, v_stride, cosine, sine, terms, beta, maxima, sums, n_images, n_draws,
    n_classes, n_splits,
    order: tl.constexpr, values: tl.constexpr, signs: tl.constexpr,
    images_of_tile: tl.constexpr, classes_of_tile: tl.constexpr, tiles_of_split: tl.constexpr,
):  # fmt: skip
    """Fills `maxima` and `sums` [signs, S, n, n_splits], whose logarithms the caller adds.

    Program (i, s, k): images of tile i, draw s, and the classes of split k.
    """
    images = tl.program_id(0) * images_of_tile + tl.arange(0, images_of_tile)
    draw, split = tl.program_id(1), tl.program_id(2)
    is_image, rows = images < n_images, images.to(tl.int64)
    strength = tl.load(beta)
    a = tl.load(cosine + draw * n_images + images, mask=is_image, other=0.0)[:, None]
    s = tl.load(sine + draw * n_images + images, mask=is_image, other=0.0)[:, None]
    high_plus = tl.full([images_of_tile], float("-inf"), tl.float32)
    high_minus = tl.full([images_of_tile], float("-inf"), tl.float32)
    total_plus = tl.zeros([images_of_tile], tl.float32)
    total_minus = tl.zeros([images_of_tile], tl.float32)
    for tile in range(tiles_of_split):
        first = (split * tiles_of_split + tile) * classes_of_tile
        classes = first + tl.arange(0, classes_of_tile)
        inside = is_image[:, None] & (classes < n_classes)[None, :]
        places = rows[:, None] * n_classes + classes[None, :]
        m = tl.load(mu_dots + places, mask=inside, other=0.0)
        v = tl.load(v_dots + draw.to(tl.int64) * v_stride + places, mask=inside, other=0.0)
        base, root, inverse_root, constant = _terms(terms, classes, n_classes)
        is_class = (classes < n_classes)[None, :]
        logit, _, _ = _logit(
            a * m + s * v, strength, base, root, inverse_root, constant, order, values
        )
        logit = tl.where(is_class, logit, float("-inf"))
        high_plus, total_plus = _online(logit, high_plus, total_plus)
        if signs == 2:
            logit, _, _ = _logit(
                a * m - s * v, strength, base, root, inverse_root, constant, order,
                values,
            )  # fmt: skip
            logit = tl.where(is_class, logit, float("-inf"))
            high_minus, total_minus = _online(logit, high_minus, total_minus)
    out = (draw * n_images + images) * n_splits + split
    tl.store(maxima + out, high_plus, mask=is_image)
    tl.store(sums + out, total_plus, mask=is_image)
    if signs == 2:
        out += n_draws * n_images * n_splits
        tl.store(maxima + out, high_minus, mask=is_image)
        tl.store(sums + out, total_minus, mask=is_image)


@triton.jit
def _gradient(
    draw_dots, log_sum, inside, weight, beta, base, root, inverse_root, constant,
    own_correction, order: tl.constexpr, values: tl.constexpr, slopes: tl.constexpr,
):  # fmt: skip
    """d/d(z.w), and d/d|w|^2, of the weighted log partitions of draws [images, classes]."""
    logit, s2, change = _logit(draw_dots, beta, base, root, inverse_root, constant, order, values)
    # masked before the exponential: a logit beyond the last class may be larger than any
    probability = weight * tl.exp(tl.where(inside, logit - log_sum[:, None], float("-inf")))
    correction, upper = _correction(s2, order, slopes), 1.0 / (order + s2)
    # R(kappa_2) - R(kappa_1), R = A(kappa) / kappa, whose largest part 1 / (order + s) would cancel
    ratio_change = own_correction - correction - change * (1.0 / (order + root)) * upper
    return beta * probability * (upper - correction), 0.5 * probability * ratio_change


@triton.jit
def gradients_kernel(
    mu_dots, v_dots, v_stride, cosine, sine, ratio, log_sums, terms, beta, weight, class_coeff,
    row_sums, class_sums, n_images, n_classes, n_tiles,
    order: tl.constexpr, values: tl.constexpr, slopes: tl.constexpr, signs: tl.constexpr,
    n_draws: tl.constexpr, images_of_tile: tl.constexpr, classes_of_tile: tl.constexpr,
):  # fmt: skip
    """Overwrites dot products by derivatives as `TorchPartition._tile` does, for one tile.

    Args beyond those of both kernels: `ratio` [S, n]; `log_sums` [signs, S, n]; the weight of a
    draw. Filled are `class_coeff` [n, C]; `row_sums` [4, S, n, n_tiles], sums over the classes of a
    tile of E m, O m, O v and E; `class_sums` [tiles of images, C], d/d|w|^2.
    """
    images = tl.program_id(0) * images_of_tile + tl.arange(0, images_of_tile)
    classes = tl.program_id(1) * classes_of_tile + tl.arange(0, classes_of_tile)
    is_image, is_class = images < n_images, classes < n_classes
    inside = is_image[:, None] & is_class[None, :]
    places = images.to(tl.int64)[:, None] * n_classes + classes[None, :]
    strength = tl.load(beta)
    m = tl.load(mu_dots + places, mask=inside, other=0.0)
    base, root, inverse_root, constant = _terms(terms, classes, n_classes)
    own_correction = _correction(root, order, slopes)
    of_mu, coeff, norm = tl.zeros_like(m), tl.zeros_like(m), tl.zeros_like(m)
    for draw in range(n_draws):
        of_draw = draw * n_images + images
        a = tl.load(cosine + of_draw, mask=is_image, other=0.0)[:, None]
        s = tl.load(sine + of_draw, mask=is_image, other=0.0)[:, None]
        r = tl.load(ratio + of_draw, mask=is_image, other=0.0)[:, None]
        known = tl.load(log_sums + of_draw, mask=is_image, other=0.0)
        v_places = draw * v_stride + places
        v = tl.load(v_dots + v_places, mask=inside, other=0.0)
        even, of_norm = _gradient(
            a * m + s * v, known, inside, weight, strength, base, root, inverse_root,
            constant, own_correction, order, values, slopes,
        )  # fmt: skip
        odd = even
        if signs == 2:
            known = tl.load(log_sums + n_draws * n_images + of_draw, mask=is_image, other=0.0)
            minus, of_minus = _gradient(
                a * m - s * v, known, inside, weight, strength, base, root,
                inverse_root, constant, own_correction, order, values, slopes,
            )  # fmt: skip
            odd = even - minus
            even = even + minus
            of_norm += of_minus
        norm += of_norm
        out = row_sums + of_draw * n_tiles + tl.program_id(1)
        step = n_draws * n_images * n_tiles
        tl.store(out, tl.sum(even * m, 1), mask=is_image)
        tl.store(out + step, tl.sum(odd * m, 1), mask=is_image)
        tl.store(out + 2 * step, tl.sum(odd * v, 1), mask=is_image)
        tl.store(out + 3 * step, tl.sum(even, 1), mask=is_image)
        grad_v = s * odd
        tl.store(v_dots + v_places, grad_v, mask=inside)
        of_mu += a * even
        coeff += a * even - r * grad_v
    tl.store(mu_dots + places, of_mu, mask=inside)
    tl.store(class_coeff + places, coeff, mask=inside)
    tl.store(class_sums + tl.program_id(0) * n_classes + classes, tl.sum(norm, 0), mask=is_class)
