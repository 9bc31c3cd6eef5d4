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
    same, different = _within(unit, codes, of_image, 1 - distances.square() / 2)
    paired = same[:, -1] > 0
    if not bool(paired.any()):
        raise ValueError("no class has a pair of rows")
    sensitivity = same[paired, :-1] / same[paired, -1:]
    # a class that holds every row has no other pair to accept
    specificity = 1 - different[paired, :-1] / different[paired, -1:].clamp_min(1)
    total = sensitivity + specificity
    utility = torch.where(total > 0, 2 * sensitivity * specificity / total, 0.0)
    deviation = (utility - utility.mean(0)).square()
    of_classes = torch.trapezoid(deviation, distances, dim=1) / (most - least)
    worst = of_classes.topk(max(1, len(of_classes) // 10)).values
    return Opis(float(of_classes.mean()), float(worst.mean()), utility, distances)


def _within(
    unit: Tensor, codes: Tensor, images: Tensor, similarities: Tensor
) -> tuple[Tensor, Tensor]:
    """Pairs of each class of at least each similarity, and all of them last: float64 [C, T + 1].

    Pairs of two rows of the class, each twice; and pairs with one row in it.

    Args:
        unit: float64 [N, D].
        codes: int64 [N].
        images: int64 [N].
        similarities: float64 [T], falling.
    """
    n_classes, n_points = int(codes.max()) + 1, len(similarities)
    # place of the first threshold that a similarity reaches, n_points for none
    rising = -(similarities - _ROUNDING)
    counts = torch.zeros(2, n_classes * (n_points + 1), dtype=torch.int64)
    numbers, step = torch.arange(len(unit)), max(1, _BLOCK_ELEMENTS // len(unit))
    for rows in numbers.split(step):
        products = (unit[rows] @ unit.T).cpu()
        places = torch.searchsorted(rising, -products) + (codes[rows] * (n_points + 1))[:, None]
        is_pair = images[rows][:, None] != images
        same = codes[rows][:, None] == codes
        for kind, chosen in enumerate((same & is_pair, ~same & is_pair)):
            counts[kind] += torch.bincount(places[chosen], minlength=counts.shape[1])
    same, different = counts.view(2, n_classes, n_points + 1).cumsum(2).double()
    return same, different
