"""Scores in rows and columns, such as those of several confidences or variants of a file."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.evaluation.context import Classified
from vmf_embeddings.metrics import RetrievalRows
from vmf_embeddings.metrics.resampling import WeightedScore

__all__ = ["ScoreTable", "TableText", "WeightedScore", "thinned"]

MOST_POINTS = 2000  # of a curve


@dataclass
class ScoreTable:
    """Scores by row and name.

    Args:
        rows: row -> name -> score, in the order in which they are shown. NaN where there is none,
            with the reason in `about`.
        about: what they depend on, as JSON values: parameters, files, counts.
        notes: to print, without the full stop.
        curves: name -> array, for figures and `curves.npz`.
        weighted: `row/name` -> the score as a function of weights of rows, for intervals and
            comparisons of runs.
        drawn: likewise, for intervals alone.
        queries: row -> scores of every query that retrieval ranks, from which intervals come.
        classified: row -> predictions, likewise.
    """

    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    curves: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    weighted: dict[str, WeightedScore] = field(default_factory=dict, repr=False)
    drawn: dict[str, WeightedScore] = field(default_factory=dict, repr=False)
    queries: dict[str, RetrievalRows] = field(default_factory=dict, repr=False)
    classified: dict[str, Classified] = field(default_factory=dict, repr=False)

    def flat(self) -> dict[str, float]:
        """All scores as one mapping, `row/name` -> score.

        >>> ScoreTable({"16/int8": {"recall@1": 0.9}}).flat()
        {'16/int8/recall@1': 0.9}
        """
        return {
            f"{row}/{name}": value for row, own in self.rows.items() for name, value in own.items()
        }


@dataclass(frozen=True)
class TableText:
    """How a table of scores is printed.

    Args:
        title: above it.
        head: of the first column.
        columns: name of a score -> head of its column, factor, digits after the point; scores that
            are not among them stay in `metrics.json`.
        label: row -> its words.
        block: row -> heading of the rows that it stands among, which have columns of their own.
        exact: names of scores that have no error over replications.
    """

    title: str
    head: str
    columns: dict[str, tuple[str, float, int]]
    label: Callable[[str], str] = str
    block: Callable[[str], str] = lambda row: ""
    exact: tuple[str, ...] = ()


def thinned(curve: Tensor, most: int = MOST_POINTS) -> np.ndarray:
    """At most `most` of the points [T] of a curve, evenly by place, the ends among them."""
    n = len(curve)
    places = torch.linspace(0, n - 1, min(n, most), dtype=torch.float64).round().long()
    return curve[places].cpu().numpy()
