"""Distances within and between classes on the sphere, concentration, uniformity, alignment.

Embeddings of any length are normalised first. Distances and their ratio (pi): Roth et al. 2020,
https://arxiv.org/abs/2002.08473, section 5. Uniformity and alignment: Wang and Isola 2020,
https://arxiv.org/abs/2005.10242, equations 4 and 5. Concentration: Banerjee et al. 2005,
https://www.jmlr.org/papers/v6/banerjee05a.html, equation 4.4.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_codes, as_unit_rows

_TILE = 1024
# a mean of unit rows as long as this is that of identical rows, up to rounding
_ONE_POINT = 1 - 1e-12


@dataclass(frozen=True)
class ClassDistances:
    """Cosine distances, 1 - cosine, in [0, 2].

    Args:
        intra_per_class: [C] mean over pairs of different rows of the class; NaN for a single row.
        intra: mean of these over the classes that have one; NaN if none has.
        inter: mean over pairs of classes of the distance of their mean directions, at most
            1 + 1 / (C - 1); NaN for one class.
        ratio: intra / inter, called pi_ratio or embedding density; NaN where inter is 0 or NaN.
    """

    intra_per_class: Tensor
    intra: float
    inter: float
    ratio: float


def class_distances(embeddings: Array, labels: Array) -> ClassDistances:
    """Mean distances within and between classes, exact, in O(N D).

    The cosines of all n (n - 1) ordered pairs of different unit rows with sum S add up to
    |S|^2 - n.

    Args:
        embeddings: [N, D].
        labels: [N].

    Returns:
        The distances, computed in float64.

    >>> found = class_distances([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]], [0, 0, 1])
    >>> found.intra_per_class.tolist(), round(found.inter, 4)
    ([1.0, nan], 1.7071)
    """
    rows = as_unit_rows(embeddings)
    sums, counts = _class_sums(rows, labels)
    own = _class_sums(rows.square().sum(1, keepdim=True), labels)[0].squeeze(1)
    intra_per_class = 1 - _mean_product(sums, own, counts)
    means = as_unit_rows(sums)
    n_classes = counts.new_tensor([float(len(counts))])
    squares = means.square().sum().reshape(1)
    inter = float(1 - _mean_product(means.sum(0, keepdim=True), squares, n_classes))
    intra = float(intra_per_class.nanmean())
    ratio = intra / inter if inter > 0 else float("nan")
    return ClassDistances(intra_per_class, intra, inter, ratio)


def alignment(embeddings: Array, labels: Array) -> float:
    """Mean squared distance of two different rows of one class, after normalisation, in [0, 4].

    Every pair has the same weight, so large classes count more than in `ClassDistances.intra`.
    Smaller is more compact; NaN where no class has two rows.

    Args:
        embeddings: [N, D].
        labels: [N].

    >>> alignment([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]], ["a", "a", "b"])
    2.0
    """
    found = class_distances(embeddings, labels).intra_per_class
    counts = torch.bincount(as_codes(labels)).to(found.device)
    pairs = (counts * (counts - 1)).double()
    # |x - y|^2 = 2 (1 - cos) for unit rows
    return float(2 * (found.nan_to_num() * pairs).sum() / pairs.sum())


def uniformity(embeddings: Array, t: float = 2.0) -> float:
    """Mean Gaussian potential G_t = mean exp(-t |x - y|^2) over pairs of different rows, in (0, 1].

    Smaller is more uniform: exp(-4 t) for two opposite points, close to exp(-2 t) for many random
    directions. Wang and Isola's loss is its logarithm. Exact; N^2 D / 2 multiplications, by tiles.

    Args:
        embeddings: [N, D].
        t: > 0; the kernel is narrower for larger t.

    Returns:
        G_t; NaN for a single row.

    >>> round(uniformity([[1.0, 0.0], [-3.0, 0.0]]) * torch.e**8, 6)
    1.0
    """
    rows = as_unit_rows(embeddings)
    n_rows = len(rows)
    # left . right = 2 t x.y - t |x|^2 - t |y|^2 = -t |x - y|^2
    scaled, squares = (2 * t) ** 0.5 * rows, -t * rows.square().sum(1, keepdim=True)
    left = torch.cat([scaled, squares, torch.ones_like(squares)], 1)
    right = torch.cat([scaled, torch.ones_like(squares), squares], 1)
    total = rows.new_zeros(())
    for first in range(0, n_rows, _TILE):
        for begin in range(first, n_rows, _TILE):
            potential = (left[first : first + _TILE] @ right[begin : begin + _TILE].T).exp_()
            # a tile above the diagonal also counts for its transpose below it
            total += potential.fill_diagonal_(0).sum() if begin == first else 2 * potential.sum()
    return float(total / (n_rows * (n_rows - 1))) if n_rows > 1 else float("nan")


def concentrations(embeddings: Array, labels: Array) -> Tensor:
    """Concentration kappa of a von Mises-Fisher distribution fitted to each class, [C], >= 0.

    kappa = r (D - r^2) / (1 - r^2), with r the norm of the mean of the class's unit rows: within a
    few per cent of the maximum likelihood estimate. It is too large for few rows: n uniformly
    distributed rows have r near n^-1/2. NaN for a class of one row or of identical rows.

    Args:
        embeddings: [N, D].
        labels: [N].

    >>> concentrations([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [0, 0, 1])
    tensor([2.1213,    nan], dtype=torch.float64)
    """
    rows = as_unit_rows(embeddings)
    sums, counts = _class_sums(rows, labels)
    r = torch.linalg.vector_norm(sums, dim=1) / counts
    kappa = r * (rows.shape[1] - r.square()) / (1 - r.square())
    return kappa.masked_fill((counts < 2) | (r > _ONE_POINT), torch.nan)


@dataclass(frozen=True)
class Concentration:
    """Mean and variance of the concentrations of the classes; NaN where no class has one.

    Args:
        mean: over classes.
        variance: over classes (divided by their number, not by one less), sigma^2_kappa.
        relative_variance: variance / mean^2, independent of a common factor of all kappa.
    """

    mean: float
    variance: float
    relative_variance: float


def concentration(embeddings: Array, labels: Array) -> Concentration:
    """Mean and variance over the classes of their `concentrations`.

    Args:
        embeddings: [N, D].
        labels: [N].

    >>> rows = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]
    >>> round(concentration(rows, [0, 0, 1, 1]).variance, 9)
    0.0
    """
    kappa = concentrations(embeddings, labels)
    kappa = kappa[~kappa.isnan()]
    if len(kappa) == 0:
        return Concentration(float("nan"), float("nan"), float("nan"))
    mean, variance = float(kappa.mean()), float(kappa.var(correction=0))
    return Concentration(mean, variance, variance / mean**2 if mean > 0 else float("nan"))


def _class_sums(rows: Tensor, labels: Array) -> tuple[Tensor, Tensor]:
    """Sum [C, D] and number [C] of the rows of each class, both float64."""
    codes = as_codes(labels).to(rows.device)
    if len(codes) != len(rows):
        raise ValueError(f"{len(rows)} embeddings and {len(codes)} labels: need one for each row")
    counts = torch.bincount(codes).double()
    sums = rows.new_zeros(len(counts), rows.shape[1]).index_add_(0, codes, rows)
    return sums, counts


def _mean_product(sums: Tensor, squares: Tensor, counts: Tensor) -> Tensor:
    """Mean inner product [C] of two different rows of a group, from its sum; NaN for one row."""
    return (sums.square().sum(1) - squares) / (counts * (counts - 1))
