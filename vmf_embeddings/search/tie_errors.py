"""How far two float64 scores of one query may differ that are mathematically equal."""

from dataclasses import dataclass

import torch
from torch import Tensor

UNIT = torch.finfo(torch.float64).eps / 2


def product_error(dim: int, unit: float = UNIT) -> float:
    """Largest error of a product of two rows of length 1, with that of the rows' own rounding.

    A sum of D products in any order errs by at most D u sum |x_i y_i|, u = 2^-24 or 2^-53 (Higham
    2002, Accuracy and Stability of Numerical Algorithms, section 3.1).
    """
    return (dim + 16) * unit


@dataclass(frozen=True)
class TieErrors:
    """The largest difference of two scores of a query that are equal but for rounding.

    By distance it depends on the two rows that are compared alone, however long others are: rows
    at a distance d of a query q are no longer than |q| + d, and with e = `product_error` products
    of such rows err by at most e (|q| + |q| + d)^2 / 2 <= e (4 |q|^2 + d^2), two of them by twice
    as much. With s = -d^2 / 2 that is `own` + `slope` |s|.

    Args:
        largest: float64 [Q] >= 0, for any score of a query, from the longest row.
        own: float64 [Q] >= 0, for the score 0 of a query; inf where only `largest` is known.
        slope: what is added to `own` for each unit of |score|.
    """

    largest: Tensor
    own: Tensor
    slope: float = 0.0

    @classmethod
    def none(cls, n_queries: int) -> "TieErrors":
        """Scores tie that are equal to the last bit."""
        return cls.of_products(torch.zeros(n_queries, dtype=torch.float64))

    @classmethod
    def of_products(cls, largest: Tensor) -> "TieErrors":
        """For inner products: whether rows are long does not follow from a score."""
        return cls(largest, torch.full_like(largest, torch.inf))

    @classmethod
    def of_distances(cls, largest: Tensor, lengths: Tensor, dim: int) -> "TieErrors":
        """For scores -d^2 / 2 of queries of these lengths [Q], with `largest` [Q]."""
        error = 2 * product_error(dim)
        return cls(largest, error * 4 * lengths.double().square(), error * 2)

    def __getitem__(self, queries: slice | Tensor) -> "TieErrors":
        """Those of some queries."""
        return TieErrors(self.largest[queries], self.own[queries], self.slope)

    def scaled(self, factor: float) -> "TieErrors":
        """For scores that are `factor` times as large."""
        return TieErrors(factor * self.largest, factor * self.own, self.slope)

    def at(self, scores: Tensor) -> Tensor:
        """The error at scores [Q] or [Q, n] of the queries, in their shape and on their device.

        >>> errors = TieErrors(torch.ones(1), torch.tensor([0.25]), slope=0.5)
        >>> errors.at(torch.tensor([[0.0, -1.0, -9.0]]))
        tensor([[0.2500, 0.7500, 1.0000]])
        """
        largest, own = (values.to(scores.device) for values in (self.largest, self.own))
        if scores.ndim == 2:
            largest, own = largest[:, None], own[:, None]
        size = scores.abs().clamp_max(torch.finfo(scores.dtype).max)  # 0 times inf is no number
        return (own + self.slope * size).minimum(largest)
