"""Scores after re-ranking: k-reciprocal encoding, query expansion, database augmentation."""

from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.row_pairs import (
    MatrixScores,
    QueriesAndGallery,
    named_scores,
    rows_to_compare,
    scores_of_ranking,
)
from vmf_embeddings.evaluation.score_table import ScoreTable
from vmf_embeddings.metrics import RetrievalScores
from vmf_embeddings.progress import Progress
from vmf_embeddings.search import KReciprocal, augment_gallery, expand_queries
from vmf_embeddings.search.reranked import check_reranking

RERANKED = "reranked"  # the section in metrics.json


def refuse_reranking(evaluated: EvaluatedFile, options: EvaluationOptions) -> None:
    """Refuses, before anything is scored, a way of re-ranking that does not fit the geometry.

    Raises:
        ValueError: it does not fit.
    """
    geometry = evaluated.geometry
    for way in options.rerank:
        check_reranking(way, geometry.name, is_flat=geometry.faiss_metric is not None)


def reranked_scores(
    evaluated: EvaluatedFile,
    options: EvaluationOptions,
    ks: list[int],
    found: RetrievalScores | None,
) -> ScoreTable:
    """Scores of every way that `options.rerank` names, beside those without it.

    Args:
        evaluated: the file.
        options: ways and their parameters.
        ks: the k of Recall@k.
        found: the usual retrieval scores, where they were computed.

    Raises:
        ValueError: a way does not fit the geometry, or a parameter is out of range.
    """
    result, geometry = ScoreTable(), evaluated.geometry
    rows, pairs = rows_to_compare(evaluated).double(), QueriesAndGallery.of(evaluated)

    def add(way: str, scores: RetrievalScores) -> None:
        result.rows[way], result.queries[way] = named_scores(scores, ks), scores.rows

    plain = found
    if plain is None:
        plain = scores_of_ranking(
            MatrixScores(rows, rows, geometry.similarity), evaluated, options, ks
        )
    add("none", plain)
    for way in options.rerank:
        with Progress(f"Ranking {len(rows):,} rows again, {way}"):
            ranking, result.about[way] = _WAYS[way](rows, pairs, evaluated, options)
            add(way, scores_of_ranking(ranking, evaluated, options, ks))
    if "k_reciprocal" in options.rerank:
        result.notes.append(
            "k_reciprocal is transductive: it compares all queries with one another, so the scores "
            "of one depend on the others"
        )
    return result


def _expanded(
    rows: Tensor, pairs: QueriesAndGallery, evaluated: EvaluatedFile, options: EvaluationOptions
) -> tuple[MatrixScores, dict[str, Any]]:
    """Queries plus their neighbours, against the gallery as it is."""
    n, alpha, queries = options.expand_n, options.expand_alpha, rows.clone()
    of_queries = pairs.queries.to(rows.device)
    gallery = rows[pairs.gallery.to(rows.device)]
    queries[of_queries] = expand_queries(
        rows[of_queries], gallery, n, alpha, exclude=pairs.exclude.to(rows.device)
    )
    how = {"n": n, "alpha": alpha}
    return MatrixScores(queries, rows, evaluated.geometry.similarity), how


def _augmented(
    rows: Tensor, pairs: QueriesAndGallery, evaluated: EvaluatedFile, options: EvaluationOptions
) -> tuple[MatrixScores, dict[str, Any]]:
    """Queries as they are, against gallery rows plus their neighbours, which keep their length."""
    n, alpha, gallery = options.expand_n, options.expand_alpha, rows.clone()
    of_gallery = pairs.gallery.to(rows.device)
    lengths = rows[of_gallery].norm(dim=1, keepdim=True)
    gallery[of_gallery] = lengths * augment_gallery(rows[of_gallery], n, alpha)
    how = {"n": n, "alpha": alpha}
    return MatrixScores(rows, gallery, evaluated.geometry.similarity), how


def _k_reciprocal(
    rows: Tensor, pairs: QueriesAndGallery, evaluated: EvaluatedFile, options: EvaluationOptions
) -> tuple["_Reciprocal", dict[str, Any]]:
    """Mutual neighbours among queries and gallery; a row that is both is there once."""
    k1, k2, weight = options.rerank_k1, options.rerank_k2, options.rerank_lambda
    return _Reciprocal(rows, pairs, k1, k2, weight), {"k1": k1, "k2": k2, "lambda": weight}


class _Reciprocal:
    """Minus the k-reciprocal distances of pairs of rows."""

    def __init__(
        self, rows: Tensor, pairs: QueriesAndGallery, k1: int, k2: int, weight: float
    ) -> None:
        used = torch.cat([pairs.queries, pairs.gallery]).unique()
        self.encoded = KReciprocal(rows[used.to(rows.device)], k1, k2, weight)
        self.place = torch.full((len(rows),), -1).scatter_(0, used, torch.arange(len(used)))
        self._every = len(used)

    def __call__(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """Row numbers [Q] and [G] -> scores [Q, G]."""
        device = self.encoded.rows.device
        columns = self.place[gallery].to(device)
        return -self.encoded.distances(self.place[queries].to(device), columns)


_WAYS = {"k_reciprocal": _k_reciprocal, "alpha_qe": _expanded, "dba": _augmented}
