"""How embeddings lie on the sphere: distances in and between classes, concentration, uniformity.

Rows of any length are taken as directions. Distances and their ratio (pi): Roth et al. 2020,
https://arxiv.org/abs/2002.08473, section 5. Uniformity and alignment: Wang and Isola 2020,
https://arxiv.org/abs/2005.10242, equations 4 and 5. Concentration: Banerjee et al. 2005,
https://www.jmlr.org/papers/v6/banerjee05a.html, equation 4.4.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_codes, as_unit_rows

_TILE = 1024
# a mean as long as this is that of one point but for rounding
_ONE_POINT = 1 - 1e-12


@dataclass(frozen=True)
class ClassDistances:
    """Cosine distances, 1 - cosine, in [0, 2].

    Args:
        intra_per_class: [C] mean over pairs of different rows of a class; NaN for a single row.
        intra: mean of these over the classes that have one; NaN if none has.
        inter: mean over pairs of classes of the distance of their mean directions; NaN for one
            class. Above 1 at most by 1 / (C - 1).
        ratio: intra / inter, the density pi; NaN where inter is 0 or NaN.
    """

    intra_per_class: Tensor
    intra: float
    inter: float
    ratio: float


def class_distances(embeddings: Array, labels: Array) -> ClassDistances:
    """Mean distances within classes and between them, exact and without a matrix of pairs.

    With S the sum of n unit rows, the n (n - 1) ordered pairs of different rows have
    |S|^2 - n as the sum of their cosines.

    Args:
        embeddings: [N, D].
        labels: [N].

    Returns:
        The distances, in float64.

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
    """Mean squared distance of two different rows of one class, on the sphere, in [0, 4].

    Every pair counts alike, so large classes count more than in `ClassDistances.intra`. Smaller is
    tighter; NaN where no class has two rows.

    Args:
        embeddings: [N, D].
        labels: [N].

    >>> alignment([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]], ["a", "a", "b"])
    2.0
    """
    found = class_distances(embeddings, labels).intra_per_class
    counts = torch.bincount(as_codes(labels)).to(found.device)
    pairs = (counts * (counts - 1)).double()
    # a squared chord is twice the cosine distance
    return float(2 * (found.nan_to_num() * pairs).sum() / pairs.sum())


def uniformity(embeddings: Array, t: float = 2.0) -> float:
    """Mean Gaussian potential G_t = mean exp(-t |x - y|^2) over pairs of different rows, in (0, 1].

    Smaller is more uniform: exp(-4 t) for two opposite points, near exp(-2 t) for many directions
    at random. Wang and Isola's loss is its logarithm. Exact, by tiles: N^2 D / 2 products.

    Args:
        embeddings: [N, D].
        t: width of the kernel, > 0.

    Returns:
        G_t; NaN for a single row.

    >>> round(uniformity([[1.0, 0.0], [-3.0, 0.0]]) * torch.e**8, 6)
    1.0
    """
    rows = as_unit_rows(embeddings)
    n_rows = len(rows)
    # so that one product of a left and a right row is -t |x - y|^2
    longer, falls = (2 * t) ** 0.5 * rows, -t * rows.square().sum(1, keepdim=True)
    left = torch.cat([longer, falls, torch.ones_like(falls)], 1)
    right = torch.cat([longer, torch.ones_like(falls), falls], 1)
    total = rows.new_zeros(())
    for first in range(0, n_rows, _TILE):
        for begin in range(first, n_rows, _TILE):
            potential = (left[first : first + _TILE] @ right[begin : begin + _TILE].T).exp_()
            # off the diagonal, a tile stands for its mirror image too
            total += potential.fill_diagonal_(0).sum() if begin == first else 2 * potential.sum()
    return float(total / (n_rows * (n_rows - 1))) if n_rows > 1 else float("nan")


def concentrations(embeddings: Array, labels: Array) -> Tensor:
    """Concentration kappa of each class as if it were a von Mises-Fisher law, [C] float64, >= 0.

    kappa = r (D - r^2) / (1 - r^2), r the length of the mean of the class's unit rows: within a few
    per cent of the largest likelihood. Few rows make it too large: n rows without any direction
    have r near n^-1/2. NaN for classes of one row, or of one point, which have none.

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
    """How the concentrations of the classes differ; NaN where no class has one.

    Args:
        mean: over classes.
        variance: over classes (of all of them: divided by their number), sigma^2_kappa.
        relative_variance: variance / mean^2, which no common factor of all concentrations changes.
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
    """Sum [C, D] and number [C] of the rows of each class, float64."""
    codes = as_codes(labels).to(rows.device)
    if len(codes) != len(rows):
        raise ValueError(f"{len(rows)} embeddings and {len(codes)} labels: need one for each row")
    counts = torch.bincount(codes).double()
    sums = rows.new_zeros(len(counts), rows.shape[1]).index_add_(0, codes, rows)
    return sums, counts


def _mean_product(sums: Tensor, squares: Tensor, counts: Tensor) -> Tensor:
    """Mean inner product [C] of two different rows of a group, from its sum; NaN for one row."""
    return (sums.square().sum(1) - squares) / (counts * (counts - 1))
