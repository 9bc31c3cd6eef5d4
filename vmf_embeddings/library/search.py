"""Nearest neighbours of arrays of embeddings."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from vmf_embeddings.geometry import Geometry, from_meta
from vmf_embeddings.library.progress_bar import progress_bar
from vmf_embeddings.search import NearestSearch

QUERIES_AT_ONCE = 2048  # between two updates of the progress bar


@dataclass(frozen=True)
class Hits:
    """Neighbours of Q queries, nearest first.

    Attributes:
        indices: int64 [Q, k], rows of the gallery; -1 where it has fewer than k.
        similarities: float64 [Q, k], larger = nearer, as the geometry's `similarity`; -inf there.
    """

    indices: np.ndarray
    similarities: np.ndarray


def search(
    queries: ArrayLike,
    gallery: ArrayLike,
    k: int = 10,
    geometry: str | Geometry = "cosine",
    *,
    curvature: float | None = None,
    exclude: ArrayLike | None = None,
    progress: bool | None = None,
) -> Hits:
    """The k nearest gallery rows of every query, exactly; ties by the smaller index.

    Args:
        queries: embeddings [Q, D], as a run's `embed` returns them.
        gallery: [G, D], likewise.
        k: neighbours per query, >= 1.
        geometry: "cosine", "euclidean", "vmf", "poincare", "poincare-reference", or a run's
            `geometry`.
        curvature: c > 0 of the Poincare ball, where `geometry` is its name.
        exclude: gallery row that is left out for each query [Q], such as the query itself, or
            several [Q, E]; -1 for none.
        progress: whether to show a progress bar on standard error; None = once it takes long and
            standard error is a terminal.

    Returns:
        Indices and similarities.

    Raises:
        ValueError: shapes do not fit, values are not finite, or the geometry is unknown.

    Example:
        >>> search([[1.0, 0.1]], [[0.0, 1.0], [2.0, 0.0]], k=1).indices
        array([[1]])
    """
    how = geometry_of(geometry, curvature)
    rows = how.project(_rows("queries", queries).double())
    find = NearestSearch(
        how.project(_rows("gallery", gallery).double()),
        similarity=how.similarity,
        metric=how.faiss_metric,
    )
    left_out = _left_out(exclude, len(rows))
    found = []
    with progress_bar("Searching", len(rows), progress, "queries") as advance:
        for start in range(0, max(1, len(rows)), QUERIES_AT_ONCE):
            block = slice(start, start + QUERIES_AT_ONCE)
            found.append(find(rows[block], k, exclude=left_out[block]))
            advance(len(rows[block]))
    indices, similarities = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
    return Hits(indices, similarities)


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


def _rows(name: str, values: ArrayLike) -> torch.Tensor:
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise ValueError(
            f"{name}: expected numbers [N, D], got {list(array.shape)} of {array.dtype}"
        )
    return torch.from_numpy(np.ascontiguousarray(array))
