"""Rows in the order of a score, with those of equal score taken together."""

from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_float64


class Ordered:
    """Rows by rising score, in T groups of equal score.

    Args:
        scores: [N], N >= 1, no NaN.

    Raises:
        ValueError: they are not one axis of numbers.
    """

    def __init__(self, scores: Array) -> None:
        values = as_float64(scores)
        if values.ndim != 1 or len(values) == 0:
            raise ValueError(f"scores must be [N] with N >= 1, got {list(values.shape)}")
        unknown = values.isnan().nonzero()
        if len(unknown):
            raise ValueError(
                f"scores must be numbers; {len(unknown)} are NaN, the first in row {unknown[0, 0]}"
            )
        self._order = values.argsort()
        self.scores, self._group = values[self._order].unique_consecutive(return_inverse=True)

    def sums(self, values: Tensor) -> Tensor:
        """Sums over the groups [B, T] of values [B, N] of the rows."""
        return self.sums_in_order(self.in_order(values))

    def in_order(self, values: Tensor) -> Tensor:
        """Values [B, N] of the rows, by rising score."""
        return values[:, self._order]

    def sums_in_order(self, ordered: Tensor) -> Tensor:
        """Sums over the groups [B, T] of what `in_order` returns."""
        if ordered.shape[1] == len(self.scores):
            return ordered
        total = ordered.new_zeros(len(ordered), len(self.scores))
        return total.index_add_(1, self._group, ordered)

    def of_rows(self, values: Tensor) -> Tensor:
        """Values [T] of the groups for each of their rows [N]."""
        found = values.new_empty(len(self._order))
        found[self._order] = values[self._group]
        return found
