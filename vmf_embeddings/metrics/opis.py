"""How far classes are from sharing one threshold of verification: OPIS (Zhang et al. 2024, ICLR).

"Threshold-Consistent Margin Loss for Open-World Deep Metric Learning". At a distance d the utility
of class i is the harmonic mean of its sensitivity, the share of its pairs within d, and its
specificity, the share of pairs with one row in it that are farther apart; OPIS is the mean over
classes of their squared deviation from the mean utility, over a range of distances.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_codes, as_unit_rows

N_POINTS = 101
_BLOCK_ELEMENTS = 2**21
_ROUNDING = 1e-12  # of a product of unit rows: pairs at the distance itself are within it


@dataclass(frozen=True)
class Opis:
    """The inconsistency of a threshold over classes; 0 = every class has the same utility.

    Args:
        mean: of all classes with a pair of rows, in [0, 1].
        worst_tenth: of the tenth of them with the largest deviations, one at least.
        utility: float64 [C, T] of these classes, in sorted order, at every distance.
        distances: float64 [T].
    """

    mean: float
    worst_tenth: float
    utility: Tensor
    distances: Tensor


def opis(
    rows: Array, labels: Array, least: float, most: float, images: Array | None = None
) -> Opis:
    """OPIS of unit rows over the Euclidean distances from `least` to `most`.

    All pairs of rows are compared, in blocks of rows.

    Args:
        rows: [N, D], of any length.
        labels: [N], of any sortable type.
        least: distance, as that of the FAR 0.01.
        most: distance > `least`, as that of the FAR 0.1.
        images: [N] integers: rows of one number make no pair; None = all are different.

    Raises:
        ValueError: `most` is no more than `least`, or no class has a pair.

    >>> found = opis([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]], [0, 0, 1, 1], 0.5, 1.0)
    >>> found.mean, found.utility[:, 0].tolist()
    (0.0, [1.0, 1.0])
    """
    if not least < most:
        raise ValueError(f"expected a range of distances, got {least} to {most}")
    unit, codes = as_unit_rows(rows), as_codes(labels)
    of_image = torch.arange(len(unit)) if images is None else as_codes(images)
    distances = torch.linspace(least, most, N_POINTS, dtype=torch.float64)
    n_same, n_different = _pairs_of_classes(codes, of_image)
    paired = n_same > 0
    if not bool(paired.any()):
        raise ValueError("no class has a pair of rows")
    same, different = _within(unit, codes, of_image, 1 - distances.square() / 2)
    sensitivity = same[paired] / n_same[paired, None]
    # a class that holds every row has no other pair to accept
    specificity = 1 - different[paired] / n_different[paired, None].clamp_min(1)
    total = sensitivity + specificity
    utility = torch.where(total > 0, 2 * sensitivity * specificity / total, 0.0)
    deviation = (utility - utility.mean(0)).square()
    of_classes = torch.trapezoid(deviation, distances, dim=1) / (most - least)
    worst = of_classes.topk(max(1, len(of_classes) // 10)).values
    return Opis(float(of_classes.mean()), float(worst.mean()), utility, distances)


def _within(
    unit: Tensor, codes: Tensor, images: Tensor, similarities: Tensor
) -> tuple[Tensor, Tensor]:
    """Pairs of each class of at least each similarity, float64 [C, T].

    Pairs of two rows of the class, each twice; and pairs with one row in it.

    Args:
        unit: float64 [N, D].
        codes: int64 [N].
        images: int64 [N].
        similarities: float64 [T], falling.
    """
    n_classes, n_points = int(codes.max()) + 1, len(similarities)
    rising, least = -(similarities - _ROUNDING), float(similarities[-1]) - _ROUNDING
    counts = torch.zeros(2 * n_classes * n_points, dtype=torch.int64)
    for rows in torch.arange(len(unit)).split(max(1, _BLOCK_ELEMENTS // len(unit))):
        products = (unit[rows] @ unit.T).cpu()
        # most pairs are farther apart than the largest distance
        line, column = (products >= least).nonzero(as_tuple=True)
        row, value = rows[line], products[line, column]
        pair = images[row] != images[column]
        row, column, value = row[pair], column[pair], value[pair]
        other = (codes[row] != codes[column]).long()
        # place of the first threshold that a similarity reaches
        place = torch.searchsorted(rising, -value)
        counts += torch.bincount(
            (other * n_classes + codes[row]) * n_points + place, minlength=len(counts)
        )
    same, different = counts.view(2, n_classes, n_points).cumsum(2).double()
    return same, different


def _pairs_of_classes(codes: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """All pairs of each class, float64 [C], counted as by `_within`."""
    cells, n_cell = torch.stack([codes, images]).unique(dim=1, return_counts=True)
    n_class, n_image = torch.bincount(codes), torch.bincount(images)

    def of_image(counts: Tensor) -> Tensor:
        return torch.bincount(cells[0], counts.double(), minlength=len(n_class))

    same = n_class * n_class - of_image(n_cell * n_cell)
    different = n_class * (len(codes) - n_class)
    return same, different - of_image(n_cell * (n_image[cells[1]] - n_cell))
