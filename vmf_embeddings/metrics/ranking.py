"""Scores of the k nearest rows: nDCG, precision, mean average precision in its two forms, mMP.

h_i is 1 if the row at rank i is of the query's class, R their number in the gallery, and
precision@i the mean of h_1..h_i. Jarvelin & Kekalainen 2002 (nDCG, gain 1, discount log2(i + 1));
mMP: Ypsilantis et al. 2023, https://arxiv.org/abs/2309.01858. "mAP@k" names different sums: over R
(TREC's map_cut) it cannot reach 1 where R > k; over min(R, k) it can (Google Landmarks).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings.metrics import ties as tied_ranks


@dataclass(frozen=True)
class RankingAt:
    """Scores of every query among its k nearest rows, each in [0, 1]; NaN where R = 0.

    Args:
        ndcg: [Q] sum_{i<=k} h_i / log2(i + 1) over the same sum of min(R, k) hits.
        precision: [Q] hits / k.
        map_over_relevant: [Q] sum_{i<=k} precision@i h_i / R.
        map_over_min: [Q] the same sum over min(R, k).
        mmp: [Q] hits among the min(R, k) nearest / min(R, k).
    """

    ndcg: Tensor
    precision: Tensor
    map_over_relevant: Tensor
    map_over_min: Tensor
    mmp: Tensor


class Rankings:
    """Collects `RankingAt` for several k from the ranks of queries, in any order.

    Args:
        ks: each >= 1; empty = nothing is collected.
        n_queries: Q.
    """

    def __init__(self, ks: Sequence[int], n_queries: int) -> None:
        def unknown() -> Tensor:
            return torch.full((n_queries,), torch.nan, dtype=torch.float64)

        self.inverse_negative_penalty = unknown()
        """[Q] R / rank of the last positive (Ye et al. 2021, https://arxiv.org/abs/2001.04193)."""
        self.at = {int(k): RankingAt(*(unknown() for _ in range(5))) for k in ks}
        places = torch.arange(1, max(ks, default=0) + 1, dtype=torch.float64)
        self._discounts = (1 / (places + 1).log2()).cumsum(0)
        self._discounts = torch.cat([self._discounts.new_zeros(1), self._discounts])

    def add(self, queries: Tensor, ranks: Tensor) -> None:
        """Sets the scores of queries [q] from the ranks [q, R] of their positives, ascending."""
        if not self.at:
            return
        n_relevant = ranks.shape[1]
        self.inverse_negative_penalty[queries] = n_relevant / ranks[:, -1].double()
        precision = torch.arange(1, n_relevant + 1, dtype=torch.float64) / ranks
        discount = 1 / (ranks.double() + 1).log2()
        for k in self.at:
            found, least = ranks <= k, min(n_relevant, k)
            self._set(queries, k, n_relevant, found.sum(1), (discount * found).sum(1),
                      (precision * found).sum(1), (ranks <= least).sum(1))  # fmt: skip

    def add_tied(self, queries: Tensor, runs: tied_ranks.Runs) -> None:
        """Sets the expected scores of queries [q] with rows of equal score; see `metrics.ties`."""
        if not self.at:
            return
        n_relevant = runs.before.shape[1]
        before, positives = (x[:, -1].long() for x in (runs.before, runs.positives))
        negatives = runs.size[:, -1].long() - positives
        last = tied_ranks.reciprocal_rank(before, positives, negatives, last=True)
        self.inverse_negative_penalty[queries] = n_relevant * last
        for k in self.at:
            begin, end = (
                self._discounts[places.clamp_max(k).long()]
                for places in (runs.before, runs.before + runs.size)
            )
            self._set(
                queries, k, n_relevant,
                tied_ranks.precision_sum(runs, k),
                ((end - begin) / runs.size).sum(1),
                tied_ranks.average_precision_sum(runs, k),
                tied_ranks.precision_sum(runs, min(n_relevant, k)),
            )  # fmt: skip

    def _set(
        self, queries: Tensor, k: int, n_relevant: int,
        hits: Tensor, gain: Tensor, precisions: Tensor, first_hits: Tensor,
    ) -> None:  # fmt: skip
        at, least = self.at[k], min(n_relevant, k)
        at.ndcg[queries] = gain / self._discounts[least]
        at.precision[queries] = hits.double() / k
        at.map_over_relevant[queries] = precisions / n_relevant
        at.map_over_min[queries] = precisions / least
        at.mmp[queries] = first_hits.double() / least
