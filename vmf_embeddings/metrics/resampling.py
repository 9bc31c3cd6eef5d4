"""How far a score moves if other rows, or other classes of this kind, were drawn: the bootstrap.

Efron & Tibshirani 1993, "An Introduction to the Bootstrap"; whole classes are drawn as in Field &
Welsh 2007 (cluster bootstrap). A draw with replacement weighs every row by how often it was drawn,
so that a score that is a function of weights of rows is resampled without ranking anything again:
in a ranking of resampled rows a row drawn twice would be its own nearest neighbour.
"""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_codes, as_float64

WeightedScore = Callable[[Tensor], Tensor]
"""Weights [B, N] >= 0 of N rows, float64 -> the score under each weighting [B], NaN where it has
none. With weights of 1 it is the score itself; draws with replacement are such weights."""

_BLOCK_ELEMENTS = 2**18


class WeightedMean:
    """The score that `weighted_mean` returns.

    Args:
        values: float64 [N]; rows that are NaN are left out.
        weights: float64 [N] >= 0, or None.

    Attributes:
        sums: float64 [N, 2] values and weights of the known rows, 0 for others: the mean is the
            ratio of their sums.
    """

    def __init__(self, values: Tensor, weights: Tensor | None) -> None:
        self.values, self.weights = values, weights
        known = (~values.isnan()).double()
        known = known if weights is None else known * weights
        self.sums = torch.stack([torch.where(known > 0, values * known, 0.0), known], 1)

    def __call__(self, drawn: Tensor) -> Tensor:
        """Weights [B, N] -> means float64 [B], NaN where all rows weigh nothing."""
        total = drawn.double() @ self.sums
        return total[:, 0] / total[:, 1]


def weighted_mean(values: Array, weights: Array | None = None) -> WeightedMean:
    """The mean of values of rows as a function of further weights of the rows.

    Args:
        values: [N]; rows that are NaN are left out.
        weights: [N] >= 0, which those of a draw multiply; None = all alike.

    >>> weighted_mean([0.0, 1.0, float("nan")])(torch.tensor([[1.0, 3.0, 5.0]]))
    tensor([0.7500], dtype=torch.float64)
    """
    return WeightedMean(as_float64(values), None if weights is None else as_float64(weights))


class WeightedClassMean:
    """The score that `weighted_class_mean` returns.

    Args:
        values: float64 [N]; rows that are NaN are left out.
        codes: int64 [N] class numbers.
    """

    def __init__(self, values: Tensor, codes: Tensor) -> None:
        self.values, self.codes = values, codes
        rows = (~values.isnan()).nonzero().squeeze(1)
        self._rows = rows[codes[rows].argsort(stable=True)]
        counts = codes[self._rows].unique_consecutive(return_counts=True)[1]
        self._ends = counts.cumsum(0) - 1

    def __call__(self, drawn: Tensor) -> Tensor:
        """Weights [B, N] -> means float64 [B], NaN where all rows weigh nothing."""
        weights = drawn[:, self._rows].double()
        count = self._sums(weights)
        present = count > 0.5  # whole numbers; what rounding leaves of 0 is none
        sums = self._sums(weights * self.values[self._rows])
        return torch.where(present, sums / count, 0.0).sum(1) / present.sum(1)

    def _sums(self, of_draws: Tensor) -> Tensor:
        """Sums [B, C] over the rows of every class, of values [B, n] in the order of classes."""
        last = of_draws.cumsum(1)[:, self._ends]
        return last.diff(dim=1, prepend=last.new_zeros(len(last), 1))


def weighted_class_mean(values: Array, classes: Array) -> WeightedClassMean:
    """The mean over classes of their mean values, as macro accuracy is, as a function of weights.

    Classes whose rows weigh nothing are left out. Where whole classes are drawn, a class that is
    drawn twice must count twice: then take `weighted_mean` with weights 1 / (rows of the class).

    Args:
        values: [N]; rows that are NaN are left out.
        classes: [N], of any sortable type.

    >>> weighted_class_mean([0.0, 1.0, 1.0], [0, 0, 1])(torch.tensor([[1.0, 3.0, 1.0]]))
    tensor([0.8750], dtype=torch.float64)
    """
    return WeightedClassMean(as_float64(values), as_codes(classes))


def times_drawn(numbers: Tensor, n: int) -> Tensor:
    """How often each of n things is among draws [B, M] of their numbers: float64 [B, n].

    >>> times_drawn(torch.tensor([[0, 2, 2]]), 3)
    tensor([[1., 0., 2.]], dtype=torch.float64)
    """
    places = numbers.long() + n * torch.arange(len(numbers))[:, None]
    counts = torch.bincount(places.reshape(-1), minlength=len(numbers) * n)
    return counts.view(len(numbers), n).double()


def drawn_weights(
    n_rows: int, n_draws: int, seed: int, classes: Array | None = None
) -> Iterator[Tensor]:
    """Weights of rows under draws with replacement, in blocks [B, N] of `n_draws` in all.

    Args:
        n_rows: N.
        n_draws: how often as many rows, or as many classes, as there are are drawn.
        seed: of the draws, which are the same however they are divided into blocks.
        classes: [N], to draw whole classes with all their rows; None = rows.
    """
    codes = None if classes is None else as_codes(classes)
    n_units = n_rows if codes is None else int(codes.max()) + 1
    generator = torch.Generator().manual_seed(seed)
    step = max(1, _BLOCK_ELEMENTS // n_rows)
    for start in range(0, n_draws, step):
        shape = (min(step, n_draws - start), n_units)
        counts = times_drawn(torch.randint(n_units, shape, generator=generator), n_units)
        yield counts if codes is None else counts[:, codes]


def bootstrap(
    scores: Mapping[str, WeightedScore],
    n_rows: int,
    n_draws: int = 2000,
    *,
    classes: Array | None = None,
    seed: int = 1234,
    on_draws: Callable[[int], object] | None = None,
) -> dict[str, Tensor]:
    """Every score under draws of rows, or of classes, that are the same for all scores.

    Drawing rows asks what other rows of these classes would score, drawing classes what other
    classes of this kind would: rows of a class share what makes it hard, so the second has the
    larger spread wherever classes differ. The rows that are searched stay as they are.

    Args:
        scores: name -> score as a function of weights of rows.
        n_rows: N.
        n_draws: 1000 to 2000 for intervals of 95 %.
        classes: [N], to draw classes; None = rows.
        seed: of the draws.
        on_draws: called with the number of draws that are done, after every block of them.

    Returns:
        name -> float64 [n_draws], NaN where a draw has no score.

    >>> hits = weighted_mean([1.0, 0.0, 1.0, 1.0])
    >>> bootstrap({"recall": hits}, 4, n_draws=3, seed=0)["recall"].shape
    torch.Size([3])
    """
    found: dict[str, list[Tensor]] = {name: [] for name in scores}
    means = {name: score for name, score in scores.items() if isinstance(score, WeightedMean)}
    sums = torch.cat([score.sums for score in means.values()], 1) if means else None
    n_done = 0
    for weights in drawn_weights(n_rows, n_draws, seed, classes):
        if sums is not None:  # all means by one product
            for name, total in zip(means, (weights @ sums).split(2, 1), strict=True):
                found[name].append(total[:, 0] / total[:, 1])
        for name, score in scores.items():
            if name not in means:
                found[name].append(score(weights))
        n_done += len(weights)
        if on_draws is not None:
            on_draws(n_done)
    return {name: torch.cat(parts) for name, parts in found.items()}


def percentile_interval(draws: Array, level: float = 0.95) -> tuple[float, float]:
    """The middle part of a score's draws, by linear quantiles.

    Args:
        draws: [B] scores of draws; those that are NaN are left out.
        level: part of the draws in the interval, in (0, 1).

    Returns:
        Its ends; NaN without draws.

    >>> tuple(round(end, 6) for end in percentile_interval(range(101), 0.9))
    (5.0, 95.0)
    """
    values = as_float64(draws)
    values = values[~values.isnan()]
    if not len(values):
        return float("nan"), float("nan")
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = values.quantile(ends).tolist()
    return low, high
