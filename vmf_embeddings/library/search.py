"""Nearest neighbours of arrays of embeddings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from vmf_embeddings.geometry import Geometry, from_meta
from vmf_embeddings.library.progress_bar import progress_bar
from vmf_embeddings.search import NearestSearch, QuantisedGallery, Ranges, nearest_reranked
from vmf_embeddings.search.approximate import check_index
from vmf_embeddings.search.index_recall import IndexRecall, check_recall
from vmf_embeddings.search.index_search import IndexSearch
from vmf_embeddings.search.reranked import check_reranking

QUERIES_AT_ONCE = 2048  # between two updates of the progress bar


@dataclass(frozen=True)
class Hits:
    """Neighbours of Q queries, nearest first.

    Attributes:
        indices: int64 [Q, k], rows of the gallery; -1 where it has fewer than k.
        similarities: float64 [Q, k], larger = nearer, as the geometry's `similarity`; -inf there.
        index: where an index found them: its name, recall and parameters, also as text by `str`;
            None where neighbours are exact.
    """

    indices: np.ndarray
    similarities: np.ndarray
    index: IndexRecall | None = None


def search(
    queries: ArrayLike,
    gallery: ArrayLike,
    k: int = 10,
    geometry: str | Geometry = "cosine",
    *,
    curvature: float | None = None,
    exclude: ArrayLike | None = None,
    progress: bool | None = None,
    precision: str | None = None,
    rescore_multiplier: int = 4,
    train_embeddings: ArrayLike | None = None,
    rerank: str | None = None,
    rerank_options: Mapping[str, float] | None = None,
    index: str | None = None,
    index_recall: float = 0.99,
    seed: int = 1234,
) -> Hits:
    """The k nearest gallery rows of every query, exactly; ties by the smaller index.

    With `index`, neighbours are approximate: what the index misses is measured on up to 2,000
    queries, whose exact neighbours are found too. So it saves time where there are many more.
    With `precision`, the gallery is searched as bytes or bits, and what that finds is compared once
    more by its float rows. With `rerank`, neighbours are ranked once more.

    Args:
        queries: embeddings [Q, D], as a run's `embed` returns them.
        gallery: [G, D], likewise.
        k: neighbours per query, >= 1.
        geometry: "cosine", "euclidean", "vmf", "expected_likelihood", "poincare",
            "poincare-reference", or a run's `geometry`.
        curvature: c > 0 of the Poincare ball, where `geometry` is its name.
        exclude: gallery row that is left out for each query [Q], such as the query itself, or
            several [Q, E]; -1 for none.
        progress: whether to show a progress bar on standard error; None = once it takes long and
            standard error is a terminal.
        precision: of the gallery: "int8", "uint8", "binary", "ubinary", "float32"; None = exact.
        rescore_multiplier: with `precision`: k times this many rows are compared once more; 0 =
            none, and similarities are those of codes (of bits, minus the Hamming distance).
        train_embeddings: [M, D] rows that set the ranges of bytes; None = the gallery.
        rerank: "k_reciprocal" (similarities are then minus its distances, and depend on all
            queries), "alpha_qe" or "dba"; None = no re-ranking.
        rerank_options: of `k1`, `k2` and `lambda` (k_reciprocal), `n` and `alpha` (the others).
        index: "ivf", "ivfpq" or "hnsw", of faiss, for cosine, Euclidean distance and "vmf"; k is
            then at most 1,024. None = exact.
        index_recall: fraction of the exact neighbours, 0.95 to 1, up to which the search widens.
        seed: of the queries that `index` is measured on, and of its training.

    Returns:
        Indices and similarities.

    Raises:
        ValueError: shapes do not fit, values are not finite, the geometry is unknown, it does not
            fit `precision`, `rerank` or `index`, or the recall of `index` stays below 0.95.
        ImportError: `index` without faiss.

    Example:
        >>> search([[1.0, 0.1]], [[0.0, 1.0], [2.0, 0.0]], k=1).indices
        array([[1]])
    """
    how = geometry_of(geometry, curvature)
    rows = how.project(_rows("queries", queries).double())
    others = how.project(_rows("gallery", gallery).double())
    left_out = _left_out(exclude, len(rows))
    _refuse_several(precision=precision, rerank=rerank, index=index)
    if rerank is not None:
        check_reranking(rerank, how.name, is_flat=how.faiss_metric is not None)
        again = nearest_reranked(
            rows, others, k, rerank, metric=str(how.faiss_metric), options=rerank_options,
            exclude=left_out,
        )  # fmt: skip
        indices, similarities = (part.numpy() for part in again)
        return Hits(indices, similarities)
    find = _finder(others, how, precision, rescore_multiplier, train_embeddings)
    recall = None
    if index is not None:
        check_index(index, how.faiss_metric, how.name)
        check_recall(index_recall)
        if len(rows) and len(others):
            find = IndexSearch(
                others, str(how.faiss_metric), index, k, rows, left_out, index_recall, seed
            )
            recall = find.recall
    found = []
    with progress_bar("Searching", len(rows), progress, "queries") as advance:
        for start in range(0, max(1, len(rows)), QUERIES_AT_ONCE):
            block = slice(start, start + QUERIES_AT_ONCE)
            found.append(find(rows[block], k, exclude=left_out[block]))
            advance(len(rows[block]))
    indices, similarities = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
    return Hits(indices, similarities, recall)


def _refuse_several(**ways: str | None) -> None:
    """Refuses more than one way to search."""
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        got = "both" if len(given) == 2 else "all"
        raise ValueError(f"{' and '.join(given)}: expected one of them, got {got}")


def _finder(
    gallery: torch.Tensor,
    how: Geometry,
    precision: str | None,
    rescore_multiplier: int,
    train_embeddings: ArrayLike | None,
) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """What finds neighbours of a block of queries, in the gallery or in its codes."""
    if precision is None:
        return NearestSearch(gallery, similarity=how.similarity, metric=how.faiss_metric)
    if how.faiss_metric is None:
        raise ValueError(
            f"precision: codes are compared by inner products or Euclidean distances, not in the "
            f"geometry {how.name}"
        )
    ranges = None
    if train_embeddings is not None:
        ranges = Ranges.of(how.project(_rows("train_embeddings", train_embeddings).double()))
    codes = QuantisedGallery(gallery, precision, how.faiss_metric, ranges)
    rows = gallery if rescore_multiplier else None
    return partial(codes.nearest, rescore_multiplier=rescore_multiplier, rows=rows)


def _left_out(exclude: ArrayLike | None, n_queries: int) -> torch.Tensor:
    """Gallery rows that are left out [Q, E], -1 for none."""
    if exclude is None:
        return torch.full((n_queries, 1), -1)
    rows = torch.as_tensor(np.asarray(exclude)).long()
    if rows.ndim not in (1, 2) or len(rows) != n_queries:
        raise ValueError(
            f"exclude must be [{n_queries}] or [{n_queries}, E], got {list(rows.shape)}"
        )
    return rows.reshape(n_queries, -1)


def geometry_of(geometry: str | Geometry, curvature: float | None = None) -> Geometry:
    """The geometry itself, or the one of a name.

    Raises:
        ValueError: the name is unknown, or the Poincare ball lacks its curvature.
    """
    if isinstance(geometry, Geometry):
        return geometry
    if geometry.startswith("poincare") and curvature is None:
        raise ValueError(f"geometry={geometry!r} needs curvature=c, the c > 0 of its training")
    return from_meta({"name": geometry, **({} if curvature is None else {"c": curvature})})


def geometry_of_meta(
    meta: Mapping[str, Any] | None, geometry: str | Geometry | None, curvature: float | None = None
) -> Geometry:
    """The geometry that was asked for, else the one that a file states, else the cosine.

    Raises:
        ValueError: see `geometry_of`.
    """
    stated = (meta or {}).get("geometry")
    if geometry is not None or stated is None:
        return geometry_of("cosine" if geometry is None else geometry, curvature)
    return from_meta(stated)


def _rows(name: str, values: ArrayLike) -> torch.Tensor:
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise ValueError(
            f"{name}: expected numbers [N, D], got {list(array.shape)} of {array.dtype}"
        )
    return torch.from_numpy(np.ascontiguousarray(array))
