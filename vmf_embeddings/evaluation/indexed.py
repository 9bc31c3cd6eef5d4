"""Retrieval scores from an approximate index: its recall, and its difference to exact scores.

Queries drawn at random are ranked both ways. What the index misses is measured on them before it
ranks all queries, and the mean difference of every score, of the same queries, is given with its
standard error.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.rows import ignored_ids
from vmf_embeddings.evaluation.spaces import which_rows
from vmf_embeddings.metrics import RetrievalScores, retrieval
from vmf_embeddings.metrics.arrays import as_codes
from vmf_embeddings.metrics.retrieval_scores import add_ranks, mean_scores, no_ranks
from vmf_embeddings.progress import Progress
from vmf_embeddings.search import NearestSearch
from vmf_embeddings.search.approximate import ApproximateIndex, check_index
from vmf_embeddings.search.by_class import ByClass, by_class
from vmf_embeddings.search.index_recall import (
    MOST_MEASURED,
    IndexRecall,
    check_recall,
    reach_recall,
    refuse_too_many,
)
from vmf_embeddings.search.listed_ranks import excluded_places, ranks_from_lists
from vmf_embeddings.search.process_group import ProcessGroup

_EXACTLY = "leave index out and rank some queries exactly: --queries 10000 (Python: queries=10000)"


@dataclass(frozen=True)
class IndexUse:
    """How an index was used.

    Args:
        recall: what it finds of the exact neighbours.
        differences: score -> mean over the measured queries of the index's score minus the exact
            one, and the standard error of that mean over all queries.
    """

    recall: IndexRecall
    differences: dict[str, tuple[float, float]]

    def about(self) -> dict[str, Any]:
        """As metrics.json has it."""
        return {
            "index": self.recall.about(),
            "difference_to_exact": {name: mean for name, (mean, _) in self.differences.items()},
            "standard_error_of_difference": {
                name: error for name, (_, error) in self.differences.items()
            },
        }

    def numbers(self) -> dict[str, float]:
        """Recall and differences by names of their own."""
        low, high = self.recall.interval
        numbers = {
            "recall": self.recall.recall, "recall_low": low, "recall_high": high,
            "k": self.recall.k, "queries": self.recall.n_queries,
        }  # fmt: skip
        for name, (mean, error) in self.differences.items():
            numbers |= {f"{name}-exact": mean, f"{name}-exact/error": error}
        return numbers


def refuse_index(
    evaluated: EvaluatedFile, options: EvaluationOptions, process_group: ProcessGroup | None
) -> None:
    """Refuses, before anything is scored, an index that does not fit the file or other options.

    Raises:
        ValueError: it does not fit.
        ImportError: faiss is not installed.
    """
    if options.index is None:
        return
    check_index(options.index, evaluated.geometry.faiss_metric, evaluated.geometry.name)
    check_recall(options.index_recall)
    others = {
        "metrics": sorted({"recall", "map"} & set(options.metrics)), "dims": options.dims,
        "precision": options.precision, "rerank": options.rerank,
    }  # fmt: skip
    for name, values in others.items():
        if values:
            given = ", ".join(map(str, values))
            raise ValueError(
                f"index={options.index} and {name}={given}, which ranks exactly: leave one out"
            )
    if process_group is not None and process_group.size > 1:
        raise ValueError(
            f"index={options.index} is searched by the threads of one process: start it without "
            "torchrun"
        )


def indexed_retrieval(
    rows: Tensor, evaluated: EvaluatedFile, options: EvaluationOptions, ks: Sequence[int]
) -> tuple[RetrievalScores, IndexUse]:
    """Scores of all queries from an index; mAP and MRR, which need all ranks, are NaN.

    Args:
        rows: [N, D], as `rows_to_compare` projects them.
        evaluated: the file.
        options: `index`, `index_recall`, `seed`, and which rows are compared.
        ks: the k of Recall@k.

    Raises:
        ValueError: more than 1,024 neighbours are needed, or the recall stays below 0.95.
    """
    work = _Indexed(rows.cpu(), evaluated, options, ks)
    with Progress(f"Building the index {options.index} of {len(work.gallery):,} rows"):
        index = work.build()
    n = int(work.measured.sum())
    with Progress(f"Ranking {n:,} queries exactly and by the index"):
        exact = retrieval(
            work.rows, evaluated.file.ids, metric=evaluated.geometry.faiss_metric, ks=ks,
            **{**work.which, "is_query": work.measured.numpy()},
        )  # fmt: skip
        recall = work.measure(index)
        found = work.score(index, work.measured)
    differences = paired_differences(found, exact, int(work.is_query.sum()))
    if n < int(work.is_query.sum()):
        what = f"Ranking {int(work.is_query.sum()):,} queries by the index"
        with Progress(what) as progress:
            found = work.score(index, work.is_query, progress)
    return found, IndexUse(recall, differences)


class _Indexed:
    """The rows of a file, and which of them are queries, measured queries and gallery."""

    def __init__(
        self, rows: Tensor, evaluated: EvaluatedFile, options: EvaluationOptions, ks: Sequence[int]
    ) -> None:
        assert options.index is not None
        self.metric = str(evaluated.geometry.faiss_metric)
        self.options, self.ks, self.kind = options, ks, options.index
        self.which = which_rows(evaluated, options)
        self.rows = rows
        ids = evaluated.file.ids
        self.codes, n_rows = as_codes(ids), len(ids)
        ignored = np.isin(ids, ignored_ids(evaluated, options.ignore_labels))
        self.is_query = _mask(self.which["is_query"], n_rows) & ~torch.from_numpy(ignored)
        is_gallery = _mask(self.which["is_gallery"], n_rows)
        self.gallery = is_gallery.nonzero().squeeze(1)
        queries = self.is_query.nonzero().squeeze(1)
        if not len(queries) or not len(self.gallery):
            raise ValueError(
                f"{len(queries)} queries and {len(self.gallery)} gallery rows: need some of each"
            )
        self.images = self.which["images"]
        self.k = min(self._neighbours(), len(self.gallery))
        rng, n = np.random.default_rng(options.seed), min(MOST_MEASURED, len(queries))
        self.measured = torch.zeros(n_rows, dtype=torch.bool)
        self.measured[torch.from_numpy(rng.choice(queries.numpy(), n, replace=False))] = True

    def _neighbours(self) -> int:
        """The most neighbours that a score needs."""
        sizes = torch.bincount(self.codes[self.gallery], minlength=int(self.codes.max()) + 1)
        largest = int(sizes[self.codes[self.is_query]].max())
        refuse_too_many(
            self.kind, largest, f"MAP@R of a class of {largest:,} gallery rows", _EXACTLY
        )
        refuse_too_many(self.kind, max(self.ks), f"Recall@{max(self.ks)}", _EXACTLY)
        return max(largest, *self.ks)

    def build(self) -> ApproximateIndex:
        is_all = len(self.gallery) == len(self.rows)
        gallery = self.rows if is_all else self.rows[self.gallery]
        return ApproximateIndex(gallery, self.metric, self.kind, self.k, self.options.seed)

    def order(self, is_query: Tensor) -> ByClass:
        queries = is_query.nonzero().squeeze(1)
        return by_class(self.codes, queries, self.gallery, self.images)

    def measure(self, index: ApproximateIndex) -> IndexRecall:
        order = self.order(self.measured)
        return reach_recall(
            index, NearestSearch(index.gallery, metric=self.metric), self.rows[order.queries],
            excluded_places(order), self.options.index_recall, self.options.seed,
        )  # fmt: skip

    def score(
        self, index: ApproximateIndex, is_query: Tensor, progress: Progress | None = None
    ) -> RetrievalScores:
        order = self.order(is_query)
        ranks = no_ranks(order, ())
        ranked = ranks_from_lists(
            index, self.rows, self.codes, order, share_ties=self.options.ties == "expected",
            progress=progress,
        )  # fmt: skip
        for part in ranked:
            add_ranks(ranks, order, part, only_recall=False)
        query, place = order.excluded
        others = query[order.queries[query] != order.gallery[place]]
        found = mean_scores(ranks, self.ks, len(others.unique()))
        unknown = torch.full_like(found.rows.reciprocal_rank, nan)
        rows = replace(found.rows, average_precision=unknown, reciprocal_rank=unknown)
        return replace(found, mean_average_precision=nan, mean_reciprocal_rank=nan, rows=rows)


def paired_differences(
    found: RetrievalScores, exact: RetrievalScores, n_queries: int
) -> dict[str, tuple[float, float]]:
    """Mean of each score minus the exact one over the same queries, with its standard error.

    The error is sd / sqrt(q) * sqrt(1 - q / Q), as in `evaluation.query_sample`; 0 where all Q
    queries were measured.

    Args:
        found: scores of q queries.
        exact: of the same.
        n_queries: Q, of which they were drawn.
    """
    pairs = {
        **{f"recall@{k}": (found.rows.recall[k], exact.rows.recall[k]) for k in found.recall},
        "map@r": (found.rows.average_precision_at_r, exact.rows.average_precision_at_r),
        "r_precision": (found.rows.r_precision, exact.rows.r_precision),
    }
    rest = 1 - found.n_queries / n_queries
    differences = {}
    for name, (one, other) in pairs.items():
        values = (one - other)[~(one - other).isnan()]
        n = len(values)
        error = float(values.std()) * sqrt(rest / n) if n > 1 else (nan if rest else 0.0)
        differences[name] = float(values.mean()), error
    return differences


def note_on_index(use: IndexUse) -> str:
    """How ranks were found and what follows, without the full stop."""
    recall, notes = use.recall, []
    if recall.recall < recall.wanted:
        notes.append(f"index_recall={recall.wanted:g} was asked for")
    if recall.searches_all:
        notes.append("it searches everything, which takes longer than exact search")
    return "; ".join(
        [
            f"ranks are approximate: {recall}; queries and index by seed {recall.seed}",
            *notes,
            "mAP, MRR and scores over draws need all ranks and are left out; without --index "
            "scores are exact",
        ]
    )


def _mask(mask: np.ndarray | None, n_rows: int) -> Tensor:
    return torch.ones(n_rows, dtype=torch.bool) if mask is None else torch.as_tensor(mask)
