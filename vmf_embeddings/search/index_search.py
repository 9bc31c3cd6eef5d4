"""Neighbours by an index whose recall was measured on some of the queries."""

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.search.approximate import ApproximateIndex
from vmf_embeddings.search.index_recall import MOST_MEASURED, reach_recall, refuse_too_many
from vmf_embeddings.search.nearest import NearestSearch


class IndexSearch:
    """An index over a gallery that has reached a recall, for many searches.

    Args:
        gallery: [G, D], projected, G >= 1.
        metric: "ip" or "l2".
        kind: one of `approximate.INDEXES`.
        k: neighbours per query, 1 to 1,024.
        queries: [Q, D], Q >= 1; of these, up to 2,000 are drawn and measured.
        exclude: [Q, E] gallery rows that are left out; -1 for none.
        wanted: recall up to which the search widens, in [0.95, 1].
        seed: of the draw and of the index.

    Attributes:
        recall: what the index finds of the exact neighbours, an `IndexRecall`.

    Raises:
        ValueError: values are not finite, k is out of range, or the recall stays below 0.95.
    """

    def __init__(
        self,
        gallery: Tensor,
        metric: str,
        kind: str,
        k: int,
        queries: Tensor,
        exclude: Tensor,
        wanted: float,
        seed: int,
    ) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        n_found = min(k, len(gallery))
        refuse_too_many(kind, n_found, f"k={k}", "leave index out, which searches exactly")
        exact = NearestSearch(gallery, metric=metric)
        self.index = ApproximateIndex(gallery, metric, kind, n_found, seed)
        n_measured = min(MOST_MEASURED, len(queries))
        rng = np.random.default_rng(seed)
        drawn = torch.from_numpy(rng.choice(len(queries), n_measured, replace=False))
        self.recall = reach_recall(self.index, exact, queries[drawn], exclude[drawn], wanted, seed)

    def __call__(self, queries: Tensor, k: int, *, exclude: Tensor) -> tuple[Tensor, Tensor]:
        """Indices int64 and scores float64 [Q, k], best first; -1 and -inf where none was found."""
        found = self.index.nearest(queries, exclude)
        missing = k - found[0].shape[1]
        columns, scores = (
            torch.nn.functional.pad(part, (0, missing), value=value)
            for part, value in zip(found, (-1, -torch.inf), strict=True)
        )
        return columns, scores
