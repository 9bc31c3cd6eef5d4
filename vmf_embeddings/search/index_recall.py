"""The recall of an approximate index, measured against exact neighbours of some queries."""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.search.approximate import ApproximateIndex
from vmf_embeddings.search.nearest import NearestSearch

MOST_MEASURED = 2_000  # queries
DEFAULT_RECALL = 0.99
LOWEST_RECALL = 0.95
MOST_NEIGHBOURS = 1_024


@dataclass(frozen=True)
class IndexRecall:
    """What an index finds of the exact neighbours.

    Args:
        kind: of the index.
        k: neighbours per query.
        recall: mean over the measured queries of the fraction of their k exact neighbours that are
            found, in [0, 1].
        interval: Wilson's 95 % interval of it.
        n_queries: queries it was measured on.
        wanted: recall that was asked for.
        parameters: of the index.
        searches_all: whether all of the gallery is searched, which exact search does faster.
        seed: of the queries drawn and of the index.
    """

    kind: str
    k: int
    recall: float
    interval: tuple[float, float]
    n_queries: int
    wanted: float
    parameters: dict[str, Any]
    searches_all: bool
    seed: int

    def __str__(self) -> str:
        low, high = self.interval
        some = "1 query" if self.n_queries == 1 else f"{self.n_queries:,} queries"
        how = ", ".join(f"{name} {value:,}" for name, value in self.parameters.items())
        return (
            f"index {self.kind}, recall@{self.k} {self.recall:.4f} (95 % interval {low:.4f} to "
            f"{high:.4f}, {some}), {how}"
        )

    def about(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "name": self.kind,
            "k": self.k,
            "recall": self.recall,
            "recall_interval": list(self.interval),
            "recall_wanted": self.wanted,
            "queries_measured": self.n_queries,
            "seed": self.seed,
            "searches_all": self.searches_all,
            "parameters": self.parameters,
        }


def wilson_interval(fraction: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a fraction of n independent trials (Wilson 1927).

    (p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n). A mean of n numbers in [0, 1]
    varies at most as much as a fraction of n trials, so that the interval is wide enough for it.

    Args:
        fraction: p in [0, 1].
        n: >= 1.
        confidence: in (0, 1).

    >>> tuple(round(limit, 4) for limit in wilson_interval(0.9, 100))
    (0.8256, 0.9448)
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = fraction + z * z / (2 * n)
    half = z * sqrt(fraction * (1 - fraction) / n + z * z / (4 * n * n))
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    # exact at the ends, where rounding is not
    return 0.0 if fraction == 0 else max(0.0, low), 1.0 if fraction == 1 else min(1.0, high)


def reach_recall(
    index: ApproximateIndex,
    exact: NearestSearch,
    queries: Tensor,
    exclude: Tensor,
    wanted: float,
    seed: int,
) -> IndexRecall:
    """Double the effort of an index until its recall is as wanted, or it searches everything.

    A row that the index finds counts where its score is not below that of the k-th exact neighbour
    by more than the rounding error of a float64 product.

    Args:
        index: its effort is changed.
        exact: search over the same gallery.
        queries: [Q, D], 1 or more; all are measured.
        exclude: [Q, E] gallery rows that are left out; -1 for none.
        wanted: recall in [LOWEST_RECALL, 1].
        seed: that chose the queries, for the record.

    Raises:
        ValueError: the recall stays below LOWEST_RECALL.
    """
    _, best = exact(queries, index.k, exclude=exclude)
    n_exact = (best > -torch.inf).sum(1)
    norms = queries.double().norm(dim=1) + index.largest_norm
    rounding = (queries.shape[1] + 16) * torch.finfo(torch.float64).eps * norms.square()
    # the k-th exact neighbour, or the last where there are fewer
    lowest = best.gather(1, n_exact[:, None].clamp_min(1) - 1) - rounding[:, None]
    while True:
        _, found = index.nearest(queries, exclude)
        hits = ((found >= lowest) & (found > -torch.inf)).sum(1)
        # queries that are compared with nothing miss nothing
        recall = float(torch.where(n_exact > 0, hits.double() / n_exact, 1.0).mean())
        if recall >= wanted or index.searches_all:
            break
        index.double_effort()
    measured = IndexRecall(
        index.kind, index.k, recall, wilson_interval(recall, len(queries)), len(queries), wanted,
        index.parameters(), index.searches_all, seed,
    )  # fmt: skip
    if recall < LOWEST_RECALL:
        raise ValueError(
            f"{measured}: below {LOWEST_RECALL} although everything is searched, so its results "
            "would be wrong; leave index out, which searches exactly, or take another index"
        )
    return measured


def refuse_too_many(kind: str, k: int, why: str, instead: str) -> None:
    """Refuse more neighbours per query than an index is of use for.

    Raises:
        ValueError: k is above MOST_NEIGHBOURS.
    """
    if k > MOST_NEIGHBOURS:
        raise ValueError(
            f"index={kind}: {why} needs {k:,} neighbours of each query, and an index gives at most "
            f"{MOST_NEIGHBOURS:,}; {instead}"
        )


def check_recall(wanted: float) -> None:
    """Refuse a recall outside [LOWEST_RECALL, 1].

    Raises:
        ValueError: it is.
    """
    if not LOWEST_RECALL <= wanted <= 1:
        raise ValueError(f"index_recall: expected {LOWEST_RECALL} to 1, got {wanted}")
