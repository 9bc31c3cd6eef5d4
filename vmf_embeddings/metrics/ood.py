"""How like the training rows a row is, by its embedding alone; larger = more like them.

Sun et al. 2022, https://arxiv.org/abs/2204.06507 (distance to the k-th nearest training row); Lee
et al. 2018, https://arxiv.org/abs/1807.03888 (Mahalanobis distance to the nearest class mean); Ren
et al. 2021, https://arxiv.org/abs/2106.09022 (the same, less the distance to all training rows);
Mueller & Hein 2025, https://arxiv.org/abs/2505.18032 (both, of unit rows).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vmf_embeddings.metrics.arrays import Array, as_codes, as_unit_rows
from vmf_embeddings.search import NearestSearch

_SMALLEST_EIGENVALUE = 1e-10  # of the largest; a direction of less variance is left out
_ROUNDING = 1e-24  # of the variance of all rows: variance that rounding of equal rows may leave
_BLOCK_ROWS = 8192
_PART_ROWS = 200_000  # training rows that are in float64 at a time


def kth_neighbour(rows: Array, train: Array, ks: Sequence[int]) -> dict[int, Tensor]:
    """Minus the Euclidean distance of every unit row to its k-th nearest unit training row.

    Args:
        rows: [N, D], of any length.
        train: [M, D], likewise; the rows themselves are not among them.
        ks: each from 1 to M.

    Returns:
        k -> float64 [N] in [-2, 0].

    Raises:
        ValueError: there are fewer training rows than k.

    >>> kth_neighbour([[1.0, 0.0]], [[2.0, 0.0], [0.0, 1.0]], [1])[1].abs()
    tensor([0.], dtype=torch.float64)
    """
    rows, train = torch.as_tensor(rows), torch.as_tensor(train)
    most = max(ks)
    if most > len(train):
        raise ValueError(
            f"the {most}-th nearest of {len(train)} training rows does not exist: name a smaller k"
        )
    places = _nearest_places(rows, train, most)
    return {k: -_unit_distances(rows, train, places[:, k - 1]) for k in ks}


def _nearest_places(rows: Tensor, train: Tensor, k: int) -> Tensor:
    """Row numbers [N, k] of the nearest training rows, of which some are in float64 at a time."""
    places = torch.empty(len(rows), k, dtype=torch.int64)
    scores = torch.full((len(rows), k), -torch.inf, dtype=torch.float64)
    for begin in range(0, len(train), _PART_ROWS):
        search = NearestSearch(as_unit_rows(train[begin : begin + _PART_ROWS]), metric="l2")
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            found, near = search(as_unit_rows(rows[block]), k)
            both = torch.cat([scores[block], near.cpu()], 1)
            scores[block], chosen = both.topk(k, 1)
            places[block] = torch.cat([places[block], found.cpu() + begin], 1).gather(1, chosen)
    return places


def _unit_distances(rows: Tensor, train: Tensor, places: Tensor) -> Tensor:
    """Distance [N] of every unit row to one unit training row; 0 where they are equal."""
    parts = zip(rows.split(_BLOCK_ROWS), places.split(_BLOCK_ROWS), strict=True)
    return torch.cat(
        [(as_unit_rows(own) - as_unit_rows(train[near])).norm(dim=1) for own, near in parts]
    )


@dataclass(frozen=True)
class ClassMeans:
    """The mean directions of classes.

    Args:
        directions: float64 [C, D], unit rows; zero for a class whose unit rows add up to zero.

    >>> ClassMeans.fit([[3.0, 0.0], [0.0, 1.0]], [0, 1]).cosine([[2.0, 2.0]])
    tensor([0.7071], dtype=torch.float64)
    """

    directions: Tensor

    @classmethod
    def fit(cls, rows: Array, labels: Array) -> "ClassMeans":
        """The means of the unit rows [N, D] of every label [N]."""
        sums, _ = sums_of_classes(rows, labels, unit=True)
        return cls(normalize(sums, dim=1))

    def cosine(self, rows: Array) -> Tensor:
        """The largest cosine [N] of every row [N, D] with a mean."""
        parts = torch.as_tensor(rows).split(_BLOCK_ROWS)
        return torch.cat([(as_unit_rows(part) @ self.directions.T).amax(1) for part in parts])


@dataclass(frozen=True)
class ClassGaussians:
    """Normal distributions of classes, with one covariance for all, and that of all rows.

    Covariances are scatter / N. Directions of an eigenvalue below 1e-10 of the largest are left
    out, as by a pseudo-inverse: embeddings after a ReLU have directions without variance.

    Args:
        centre: [D] mean of all rows.
        means: [C, R] class means less the centre, in coordinates of covariance 1.
        whitening: [D, R] to these coordinates; R = `rank`.
        background: [D, R0] to coordinates in which all rows have covariance 1.
        unit: whether rows are normalised before.

    >>> rows = [[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [2.0, 4.0]]
    >>> fitted = ClassGaussians.fit(rows, [0, 0, 1, 1])
    >>> fitted.rank, fitted.distances([[1.0, 0.0]])  # x varies in classes, y between them
    (1, (tensor([0.], dtype=torch.float64), tensor([1.], dtype=torch.float64)))
    """

    centre: Tensor
    means: Tensor
    whitening: Tensor
    background: Tensor
    unit: bool = False

    @classmethod
    def fit(cls, rows: Array, labels: Array, *, unit: bool = False) -> "ClassGaussians":
        """Means and covariances of rows [N, D] with labels [N], in float64.

        Args:
            rows: [N, D].
            labels: [N], of any sortable type.
            unit: whether rows are normalised, here and in `distances`.

        Raises:
            ValueError: the rows of every class are equal, so that there is no covariance.
        """
        given, codes = torch.as_tensor(rows), as_codes(labels)
        sums, counts = sums_of_classes(given, labels, unit=unit)
        centre, means = sums.sum(0) / len(given), sums / counts[:, None]
        within = torch.zeros(given.shape[1], given.shape[1], dtype=torch.float64)
        for part, own in zip(given.split(_BLOCK_ROWS), codes.split(_BLOCK_ROWS), strict=True):
            deviation = _float64(part, unit) - means[own]
            within += deviation.T @ deviation / len(given)
        means = means - centre
        total = within + (means.T * counts) @ means / len(given)
        whitening = _whitening(within, total)
        if not whitening.shape[1]:
            raise ValueError("the rows of every class are equal: there is no covariance")
        return cls(centre, means @ whitening, whitening, _whitening(total, total), unit)

    @property
    def rank(self) -> int:
        """Number of directions with variance within classes."""
        return self.whitening.shape[1]

    def distances(self, rows: Array) -> tuple[Tensor, Tensor]:
        """Squared distances of rows [N, D] to the nearest class mean and to the mean of all rows.

        min_c (x - m_c)' S^-1 (x - m_c) and (x - m)' S_0^-1 (x - m), float64 [N]. Minus the first is
        the score of Lee et al., the second minus the first that of Ren et al. With one class they
        are equal.
        """
        near, background = [], []
        for part in torch.as_tensor(rows).split(_BLOCK_ROWS):
            centred = _float64(part, self.unit) - self.centre
            near.append(torch.cdist(centred @ self.whitening, self.means).amin(1).square())
            background.append((centred @ self.background).square().sum(1))
        return torch.cat(near), torch.cat(background)


def sums_of_classes(rows: Array, labels: Array, *, unit: bool = False) -> tuple[Tensor, Tensor]:
    """Sum and number of the rows of every class, by blocks of rows.

    Args:
        rows: [N, D].
        labels: [N], of any sortable type.
        unit: whether rows are normalised before.

    Returns:
        Float64 [C, D] and [C], classes in sorted order.
    """
    given, codes = torch.as_tensor(rows), as_codes(labels)
    if len(codes) != len(given) or not len(codes):
        raise ValueError(
            f"{len(given)} embeddings and {len(codes)} labels: need one label for each embedding, "
            "and at least one"
        )
    counts = torch.bincount(codes).double()
    sums = torch.zeros(len(counts), given.shape[1], dtype=torch.float64)
    for part, own in zip(given.split(_BLOCK_ROWS), codes.split(_BLOCK_ROWS), strict=True):
        sums.index_add_(0, own, _float64(part, unit))
    return sums, counts


def _float64(rows: Tensor, unit: bool) -> Tensor:
    """Rows in float64, normalised or as they are."""
    return as_unit_rows(rows) if unit else rows.double()


def _whitening(covariance: Tensor, total: Tensor) -> Tensor:
    """[D, R] to the R principal directions of a covariance, each of variance 1.

    Args:
        covariance: [D, D].
        total: [D, D] covariance of all rows; directions in which rounding of it is all that is left
            do not count either.
    """
    values, vectors = torch.linalg.eigh(covariance)
    rounding = _ROUNDING * torch.linalg.matrix_norm(total, 2)
    kept = values > torch.maximum(_SMALLEST_EIGENVALUE * values[-1], rounding)
    return vectors[:, kept] / values[kept].sqrt()
