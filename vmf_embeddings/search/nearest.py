"""`nearest`: the k nearest gallery rows of every query, by any backend."""

import importlib.util

import torch
from torch import Tensor

from vmf_embeddings import native
from vmf_embeddings.search.candidates import (
    CandidateSearch,
    MakeFetch,
    faiss_candidates,
    torch_candidates,
)
from vmf_embeddings.search.exact import METRICS, ExactSearch, Similarity, check_comparison
from vmf_embeddings.search.within import candidates_within

BACKENDS = ("auto", "torch", "faiss")
# Float32 candidates are faster where they replace most float64 scores: not in few dimensions, where
# float32 leaves close neighbours undecided, and not where k is a large fraction of the gallery.
FLOAT32_MIN_DIM = 32
FLOAT32_MIN_ROWS_PER_NEIGHBOUR = 64


class NearestSearch:
    """A gallery prepared for many searches; arguments as for `nearest`."""

    def __init__(
        self,
        gallery: Tensor,
        *,
        similarity: Similarity | None = None,
        metric: str | None = None,
        backend: str = "auto",
    ) -> None:
        _check(gallery, similarity, metric, backend)
        self.gallery = gallery
        self._similarity = METRICS[metric] if metric is not None else similarity
        self._metric = metric
        self._backend = backend
        self._exact: ExactSearch | None = None
        self._candidates: dict[MakeFetch, CandidateSearch] = {}

    def __call__(
        self, queries: Tensor, k: int, *, exclude: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Indices int64 and scores float64 [Q, k], best first; -1 and -inf beyond the gallery."""
        _check_queries(queries, self.gallery, k)
        if exclude is None:
            exclude = queries.new_full((len(queries), 1), -1, dtype=torch.int64)
        exclude = _as_columns(exclude, len(queries)).to(queries.device)
        n_found = min(k, len(self.gallery))
        columns = exclude.new_full((len(queries), k), -1)
        scores = queries.new_full((len(queries), k), -torch.inf, dtype=torch.float64)
        if n_found and len(queries):
            found = self._search(queries, n_found)(queries, n_found, exclude)
            columns[:, :n_found], scores[:, :n_found] = found
            columns.masked_fill_(scores == -torch.inf, -1)
        return columns, scores

    def _search(self, queries: Tensor, k: int) -> CandidateSearch | ExactSearch:
        use_float32 = self.gallery.shape[1] >= FLOAT32_MIN_DIM and (
            k * FLOAT32_MIN_ROWS_PER_NEIGHBOUR <= len(self.gallery)
        )
        if self._metric is None or not use_float32:
            return self._exact_search()
        make = self._candidates_for(queries)
        if make not in self._candidates:
            self._candidates[make] = CandidateSearch(
                self.gallery, self._metric, make, self._exact_search
            )
        return self._candidates[make]

    def _candidates_for(self, queries: Tensor) -> MakeFetch:
        on_cpu, n_products = self.gallery.device.type == "cpu", len(self.gallery) ** 2
        if (
            self._backend == "auto"
            and on_cpu
            and native.enabled(n_products)
            and torch.equal(queries, self.gallery)
        ):
            return candidates_within
        is_faiss = uses_faiss(self._backend, self.gallery.device)
        return faiss_candidates if is_faiss else torch_candidates

    def _exact_search(self) -> ExactSearch:
        if self._exact is None:
            assert self._similarity is not None
            self._exact = ExactSearch(self.gallery, self._similarity)
        return self._exact


def nearest(
    queries: Tensor,
    gallery: Tensor,
    k: int,
    *,
    similarity: Similarity | None = None,
    metric: str | None = None,
    exclude: Tensor | None = None,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """The k nearest gallery rows of every query; every backend returns the same indices.

    Scores are float64 and ordered by (score descending, index ascending). Memory is a block of
    similarities, never Q x G.

    Args:
        queries: [Q, D], already projected (`Geometry.project`).
        gallery: [G, D], likewise.
        k: neighbours per query, >= 1.
        similarity: takes [Q, D] and [G, D], gives [Q, G], larger is closer; used where `metric`
            is None.
        metric: "ip" (inner product) or "l2" (negative squared distance) where one of these orders
            the neighbours as `similarity` does; faster, and required by faiss.
        exclude: [Q] gallery index to leave out per query (the query itself), or [Q, E] several;
            -1 for none.
        backend: what finds float32 candidates where these are faster (32 dimensions or more, and
            64 gallery rows or more per neighbour): "torch", "faiss", or "auto", for rows on the CPU
            compiled code where the queries are the gallery, else faiss where it is installed. In
            all other cases every backend compares float64 scores of all rows.

    Returns:
        Indices [Q, k] int64, -1 where the gallery has fewer rows, and scores [Q, k] float64,
        there -inf.

    Raises:
        ValueError: unknown names, shapes that differ, values that are not finite, faiss without
            a metric.
        ImportError: backend "faiss" where faiss is not installed.
    """
    search = NearestSearch(gallery, similarity=similarity, metric=metric, backend=backend)
    return search(queries, k, exclude=exclude)


def uses_faiss(backend: str, device: torch.device) -> bool:
    """Whether faiss finds the candidates among rows on `device`.

    "auto" leaves the rows of a GPU where they are: faiss would take them through the CPU.
    """
    if backend == "auto":
        return device.type == "cpu" and importlib.util.find_spec("faiss") is not None
    return backend == "faiss"


def _as_columns(exclude: Tensor, n_queries: int) -> Tensor:
    """Excluded gallery rows as [Q, E]."""
    columns = exclude[:, None] if exclude.ndim == 1 else exclude
    if columns.ndim != 2 or len(columns) != n_queries:
        raise ValueError(
            f"exclude must be [{n_queries}] or [{n_queries}, E], got {list(exclude.shape)}"
        )
    return columns


def _check(
    gallery: Tensor, similarity: Similarity | None, metric: str | None, backend: str
) -> None:
    check_comparison(metric, similarity)
    check_backend(backend, metric)
    if gallery.ndim != 2:
        raise ValueError(f"gallery must be [G, D], got {list(gallery.shape)}")
    if not torch.isfinite(gallery).all():
        raise ValueError("the gallery holds NaN or infinite values, so neighbours are undefined")


def check_backend(backend: str, metric: str | None) -> None:
    """Refuse a backend that is unknown, not installed, or cannot search by this metric.

    Args:
        backend: "auto", "torch" or "faiss".
        metric: "ip", "l2", or None for any other similarity.

    Raises:
        ValueError: the name is unknown, or "faiss" without a metric.
        ImportError: faiss is not installed.
    """
    if backend not in BACKENDS:
        raise ValueError(f"search={backend} is unknown; known: {', '.join(BACKENDS)}")
    if backend != "faiss":
        return
    if metric is None:
        raise ValueError(
            "faiss compares by inner product or Euclidean distance, not in this geometry; "
            "use search=torch or search=auto"
        )
    if importlib.util.find_spec("faiss") is None:
        raise ImportError("search=faiss needs faiss: pip install faiss-cpu, or use search=torch")


def _check_queries(queries: Tensor, gallery: Tensor, k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if queries.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"queries {list(queries.shape)} and gallery {list(gallery.shape)} differ in columns"
        )
    if not torch.isfinite(queries).all():
        raise ValueError("the queries hold NaN or infinite values, so neighbours are undefined")
