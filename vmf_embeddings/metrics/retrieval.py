"""Retrieval scores from nearest neighbours: Recall@k, R-precision, MAP@R.

MAP@R: Musgrave, Belongie, Lim 2020, "A Metric Learning Reality Check",
https://arxiv.org/abs/2003.08505, section 3.2. Memory is one block of queries times its neighbours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array
from vmf_embeddings.search import NearestSearch
from vmf_embeddings.search.exact import Similarity

_BLOCK_ELEMENTS = 2**22


@dataclass(frozen=True)
class RetrievalRows:
    """Scores of single queries, in the order of the queries.

    Args:
        first_hit: [Q] int64 rank (1 = nearest) of the first neighbour of the query's class; 0 where
            none was among the neighbours looked at, which are max(ks, n_relevant) of them.
        n_relevant: [Q] int64 R, gallery rows of the query's class without the query itself.
        r_precision: [Q] share of the class among the R nearest; NaN where R = 0.
        average_precision: [Q] (1/R) sum_{i<=R} precision@i hit_i; NaN where R = 0.
    """

    first_hit: Tensor
    n_relevant: Tensor
    r_precision: Tensor
    average_precision: Tensor


@dataclass(frozen=True)
class RetrievalScores:
    """Means over queries, as fractions.

    Args:
        recall: k -> share of queries with a row of their class among the k nearest. A query whose
            class has no other row counts as a miss.
        map_at_r: mean average precision at R over the queries that have one; NaN if none has.
        r_precision: mean R-precision over the same queries.
        n_queries: Q.
        n_without_positive: queries whose class has no other row in the gallery.
        rows: the single queries.
    """

    recall: dict[int, float]
    map_at_r: float
    r_precision: float
    n_queries: int
    n_without_positive: int
    rows: RetrievalRows


def retrieval(
    embeddings: Array,
    labels: Array,
    *,
    similarity: Similarity | None = None,
    metric: str | None = None,
    ks: Sequence[int] = (1,),
    is_query: Array | None = None,
    is_gallery: Array | None = None,
    backend: str = "auto",
    only_recall: bool = False,
) -> RetrievalScores:
    """Score the neighbours of every query among the gallery; no query finds itself.

    Args:
        embeddings: [N, D], projected as the similarity wants them (`Geometry.project`).
        labels: [N] of any kind that can be compared: numbers need not be contiguous, text is fine.
        similarity: takes [Q, D] and [G, D], gives [Q, G], larger is closer; see `search.nearest`.
        metric: "ip" or "l2" instead, where it orders the neighbours alike; faster.
        ks: the k of Recall@k, each >= 1.
        is_query: [N] bool, rows that ask; None = all.
        is_gallery: [N] bool, rows that are searched; None = all. A query that is in the gallery too
            is left out of its own neighbours by its index.
        backend: see `search.nearest`.
        only_recall: look at max(ks) neighbours only; MAP@R and R-precision are then NaN.

    Returns:
        Means and single queries' scores.

    Raises:
        ValueError: shapes that differ, no query, no gallery row, k < 1.

    >>> rows = [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9], [0.6, 0.4]]
    >>> scores = retrieval(rows, ["a", "a", "b", "b", "b"], metric="l2", ks=(1, 3))
    >>> scores.recall, round(scores.map_at_r, 3)
    ({1: 0.8, 3: 1.0}, 0.8)
    """
    embeddings = torch.as_tensor(embeddings).detach()
    queries, gallery = _rows(is_query, len(embeddings)), _rows(is_gallery, len(embeddings))
    _check(embeddings, labels, queries, gallery, ks)
    codes = _codes(labels)
    n_relevant = _count_relevant(codes, queries, gallery)
    search = NearestSearch(
        embeddings[gallery], similarity=similarity, metric=metric, backend=backend
    )
    depth = n_relevant.new_zeros(()) if only_recall else n_relevant
    wanted = torch.maximum(depth, torch.tensor(max(ks))).expand(len(queries))
    first_hit = torch.zeros_like(n_relevant)
    r_precision = torch.full((len(queries),), torch.nan, dtype=torch.float64)
    average_precision = r_precision.clone()
    position = _positions(gallery, len(embeddings))
    for block in _blocks(wanted):
        own = queries[block]
        found, _ = search(
            embeddings[own], int(wanted[block].max()), exclude=position[own].to(embeddings.device)
        )
        hits = _hits(found.cpu(), codes[own], codes[gallery])
        first_hit[block] = _first_hit(hits)
        if not only_recall:
            r_precision[block], average_precision[block] = _precisions(hits, n_relevant[block])
    rows = RetrievalRows(first_hit, n_relevant, r_precision, average_precision)
    return _means(rows, ks)


def _means(rows: RetrievalRows, ks: Sequence[int]) -> RetrievalScores:
    recall = {
        int(k): float(((rows.first_hit >= 1) & (rows.first_hit <= k)).double().mean()) for k in ks
    }
    return RetrievalScores(
        recall=recall,
        map_at_r=float(rows.average_precision.nanmean()),
        r_precision=float(rows.r_precision.nanmean()),
        n_queries=len(rows.first_hit),
        n_without_positive=int((rows.n_relevant == 0).sum()),
        rows=rows,
    )


def _rows(mask: Array | None, n_rows: int) -> Tensor:
    if mask is None:
        return torch.arange(n_rows)
    mask = torch.as_tensor(mask)
    if mask.shape != (n_rows,) or mask.dtype != torch.bool:
        raise ValueError(
            f"query and gallery masks must be bool [{n_rows}], got {mask.dtype} {list(mask.shape)}"
        )
    return mask.cpu().nonzero().squeeze(1)


def _codes(labels: Array) -> Tensor:
    values = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    return torch.from_numpy(np.unique(values, return_inverse=True)[1].reshape(-1))


def _count_relevant(codes: Tensor, queries: Tensor, gallery: Tensor) -> Tensor:
    """R of each query [Q]: gallery rows of its class, itself left out if it is one of them."""
    per_class = torch.bincount(codes[gallery], minlength=int(codes.max()) + 1)
    in_gallery = torch.zeros(len(codes), dtype=torch.int64)
    in_gallery[gallery] = 1
    return per_class[codes[queries]] - in_gallery[queries]


def _positions(gallery: Tensor, n_rows: int) -> Tensor:
    """Where each row [N] stands in the gallery, -1 where it does not."""
    position = torch.full((n_rows,), -1)
    position[gallery] = torch.arange(len(gallery))
    return position


def _blocks(wanted: Tensor) -> Iterator[Tensor]:
    """Query numbers in blocks of like appetite, so that one large class costs its own rows only."""
    order = wanted.sort(stable=True).indices
    start = 0
    while start < len(order):
        step = max(1, _BLOCK_ELEMENTS // int(wanted[order[start]]))
        block = order[start : start + step]
        # the last row of a block asks for most: cut where that would break the memory bound
        block = block[: max(1, _BLOCK_ELEMENTS // int(wanted[block[-1]]))]
        yield block
        start += len(block)


def _hits(found: Tensor, query_codes: Tensor, gallery_codes: Tensor) -> Tensor:
    """Whether each neighbour [Q, K] is of the query's class; missing neighbours (-1) are not."""
    return (gallery_codes[found.clamp_min(0)] == query_codes[:, None]) & (found >= 0)


def _first_hit(hits: Tensor) -> Tensor:
    return torch.where(hits.any(1), hits.int().argmax(1) + 1, 0)


def _precisions(hits: Tensor, n_relevant: Tensor) -> tuple[Tensor, Tensor]:
    """R-precision and average precision at R of each query [Q]; 0/0 = NaN where R is 0."""
    ranks = torch.arange(1, hits.shape[1] + 1)
    relevant = (hits & (ranks <= n_relevant[:, None])).double()
    precision = relevant.cumsum(1) / ranks
    return relevant.sum(1) / n_relevant, (precision * relevant).sum(1) / n_relevant


def _check(
    embeddings: Tensor, labels: Array, queries: Tensor, gallery: Tensor, ks: Sequence[int]
) -> None:
    if embeddings.ndim != 2 or len(embeddings) != len(labels):
        raise ValueError(
            f"embeddings must be [N, D] and labels [N], got {list(embeddings.shape)} "
            f"and {len(labels)} labels"
        )
    if len(queries) == 0 or len(gallery) == 0:
        raise ValueError(
            f"{len(queries)} queries and {len(gallery)} gallery rows: need some of each"
        )
    if not ks or min(ks) < 1:
        raise ValueError(f"the k of Recall@k must be 1 or more, got {list(ks)}")
