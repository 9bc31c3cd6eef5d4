"""Approximate neighbours by an index of faiss, whose candidates are ordered by float64 scores.

Inverted lists (Jegou et al. 2011, https://doi.org/10.1109/TPAMI.2010.57), as rows ("ivf") or as
product codes ("ivfpq"), and graphs (Malkov and Yashunin 2018, https://arxiv.org/abs/1603.09320,
"hnsw"). The same index can be perfect on one set of rows and worthless on another, so none is used
before `search.index_recall` has measured it.
"""

import importlib.util
import logging
from collections.abc import Iterator
from math import ceil, log2, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.search.candidates import EXTRA_CANDIDATES, order_candidates, rounding_bound

INDEXES = ("ivf", "ivfpq", "hnsw")
TRAINING_ROWS_PER_LIST = 256
MIN_ROWS_PER_LIST = 39  # faiss calls k-means of fewer rows a list unreliable
CODE_DIMS = 4  # dimensions that one byte of a product code stands for
FIRST_FACTOR = 4  # candidates per neighbour of product codes, at first
LINKS, BUILD_WIDTH = 32, 80  # of each row in the graph; rows considered for each while building
MAX_ENTRIES = 2**21  # candidates held at once
MAX_QUERIES = 4096  # searched at once

Lists = tuple[Tensor, Tensor, Tensor]


def check_index(kind: str, metric: str | None, geometry: str) -> None:
    """Refuse an index that is unknown, not installed, or cannot search in this geometry.

    Raises:
        ValueError: the name is unknown, or the geometry has no metric.
        ImportError: faiss is not installed.
    """
    if kind not in INDEXES:
        raise ValueError(f"index={kind} is unknown; known: {', '.join(INDEXES)}")
    if metric is None:
        raise ValueError(
            f"index={kind} searches by inner product or Euclidean distance, not in the geometry "
            f"{geometry}: leave index out"
        )
    if importlib.util.find_spec("faiss") is None:
        raise ImportError(f"index={kind} needs faiss: pip install faiss-cpu, or leave index out")


class ApproximateIndex:
    """An index over a gallery that finds k neighbours per query, with an effort that can grow.

    Args:
        gallery: [G, D] on the CPU, G >= 1, finite.
        metric: "ip" or "l2".
        kind: one of INDEXES.
        k: neighbours per query that the index is made for, 1 to G.
        seed: of the rows that it is trained on, and of k-means.
    """

    def __init__(self, gallery: Tensor, metric: str, kind: str, k: int, seed: int) -> None:
        self.gallery, self.metric, self.kind, self.k = gallery, metric, kind, k
        norms = [part.double().norm(dim=1).max() for part in gallery.split(MAX_QUERIES)]
        self.largest_norm = torch.stack(norms).max()
        self.n_lists = _n_lists(len(gallery)) if kind != "hnsw" else 0
        # lists that are searched; rows of the graph that are kept while it is searched
        self.effort = 1 if self.n_lists else 2 ** ceil(log2(k + EXTRA_CANDIDATES + 1))
        self.factor = FIRST_FACTOR if kind == "ivfpq" else 1
        self.training_rows = min(len(gallery), TRAINING_ROWS_PER_LIST * self.n_lists)
        rows = gallery.float().contiguous().numpy()
        self._index = self._graph(rows) if kind == "hnsw" else self._inverted_lists(rows, seed)

    @property
    def searches_all(self) -> bool:
        """Whether the effort covers the whole gallery, so that it cannot grow."""
        if self.kind == "hnsw":
            return self.effort >= len(self.gallery)
        all_rows = self.kind == "ivf" or self.k * self.factor >= len(self.gallery)
        return self.effort == self.n_lists and all_rows

    def double_effort(self) -> None:
        """Search twice as many lists, twice as much of the graph, with twice the candidates."""
        self.effort = min(2 * self.effort, self.n_lists or len(self.gallery))
        self.factor *= 2 if self.kind == "ivfpq" else 1

    def parameters(self) -> dict[str, Any]:
        """What the index is, in the names of faiss."""
        if self.kind == "hnsw":
            return {"M": LINKS, "efConstruction": BUILD_WIDTH, "efSearch": self.effort}
        lists = {
            "nlist": self.n_lists, "nprobe": self.effort, "training_rows": self.training_rows,
        }  # fmt: skip
        if self.kind == "ivf":
            return lists
        codes = {"m": self._index.pq.M, "nbits": self._index.pq.nbits}
        return {**lists, **codes, "candidates_per_neighbour": self.factor}

    def nearest(self, queries: Tensor, exclude: Tensor) -> tuple[Tensor, Tensor]:
        """The k best rows that the index finds: indices int64 and scores float64 [Q, k].

        Args:
            queries: [Q, D].
            exclude: [Q, E] gallery rows to leave out; -1 for none.

        Returns:
            As exact search orders them: by score, equal scores by the smaller index; -1 and -inf
            where fewer were found. Scores are inner products or minus squared distances.
        """
        columns = torch.full((len(queries), self.k), -1)
        scores = torch.full((len(queries), self.k), -torch.inf, dtype=torch.float64)
        for numbers, found, values in self.lists(queries, exclude, torch.zeros(len(queries))):
            columns[numbers], scores[numbers] = found[:, : self.k], values[:, : self.k]
        return columns.masked_fill_(scores == -torch.inf, -1), scores

    def lists(self, queries: Tensor, exclude: Tensor, tie_errors: Tensor) -> Iterator[Lists]:
        """At least the k nearest that are found, with all that are tied with the last of these.

        Args:
            queries: [Q, D].
            exclude: [Q, E], see `nearest`.
            tie_errors: [Q] largest difference of scores that are equal but for rounding; of half
                squared distances by "l2".

        Yields:
            Numbers of queries [q], indices [q, n] and scores [q, n] with n >= k or n = G, as by
            `nearest`.
        """
        n = (self.k + EXTRA_CANDIDATES) * self.factor + exclude.shape[1]
        numbers = torch.arange(len(queries))
        yield from self._lists(queries, exclude, tie_errors, numbers, n)

    def _lists(
        self, queries: Tensor, exclude: Tensor, tie_errors: Tensor, numbers: Tensor, n: int
    ) -> Iterator[Lists]:
        n = min(n, len(self.gallery))
        for part in numbers.split(min(MAX_QUERIES, max(1, MAX_ENTRIES // n))):
            rows = queries[part]
            candidates, values = self._fetch(rows, n)
            columns, scores = order_candidates(
                rows, self.gallery, self.metric, candidates, n, exclude[part]
            )
            done = (candidates[:, -1] < 0) | (n == len(self.gallery))
            done |= self._is_certain(rows, scores, values[:, -1].double(), tie_errors[part])
            if done.any():
                yield part[done], columns[done], scores[done]
            if not done.all():
                yield from self._lists(queries, exclude, tie_errors, part[~done], 2 * n)

    def _fetch(self, queries: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Rows of the gallery [Q, n], -1 for none, and the index's own scores of them."""
        if self.kind == "hnsw":
            self._index.hnsw.efSearch = max(self.effort, n)
        else:
            self._index.nprobe = self.effort
        values, columns = self._index.search(queries.float().contiguous().numpy(), n)
        return torch.from_numpy(columns), torch.from_numpy(values)

    def _is_certain(
        self, queries: Tensor, scores: Tensor, worst_value: Tensor, tie_errors: Tensor
    ) -> Tensor:
        """Whether no row that was searched but is no candidate reaches the k-th best score [Q]."""
        half = 2 if self.metric == "l2" else 1
        kth = scores[:, self.k - 1] / half - tie_errors
        if self.kind == "ivfpq":  # distances of codes have no bound: all that is known are the rows
            return kth > scores[:, -1] / half
        worst = worst_value
        if self.metric == "l2":
            worst = -worst_value / 2
        return kth > worst + rounding_bound(queries, self.largest_norm)

    def _inverted_lists(self, rows: np.ndarray, seed: int) -> Any:
        faiss = _faiss()
        dim, metric = rows.shape[1], self._faiss_metric(faiss)
        flat = faiss.IndexFlatIP(dim) if self.metric == "ip" else faiss.IndexFlatL2(dim)
        if self.kind == "ivf":
            index = faiss.IndexIVFFlat(flat, dim, self.n_lists, metric)
        else:
            n_bits = min(8, max(1, int(log2(max(2, self.training_rows / MIN_ROWS_PER_LIST)))))
            n_codes = max((m for m in range(1, dim // CODE_DIMS + 1) if dim % m == 0), default=1)
            index = faiss.IndexIVFPQ(flat, dim, self.n_lists, n_codes, n_bits, metric)
            index.pq.cp.seed, index.pq.cp.min_points_per_centroid = seed, 1
        index.cp.seed, index.cp.min_points_per_centroid = seed, 1
        index.cp.spherical = self.metric == "ip"
        chosen = np.random.default_rng(seed).choice(len(rows), self.training_rows, replace=False)
        trained = rows[np.sort(chosen)]
        # of codes, faiss wants as many rows as centroids: two at least
        index.train(trained.repeat(2, axis=0) if len(trained) == 1 else trained)
        index.add(rows)
        return index

    def _graph(self, rows: np.ndarray) -> Any:
        faiss = _faiss()
        index = faiss.IndexHNSWFlat(rows.shape[1], LINKS, self._faiss_metric(faiss))
        index.hnsw.efConstruction = BUILD_WIDTH
        n_threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # several insert rows in an order that differs between runs
        try:
            index.add(rows)
        finally:
            faiss.omp_set_num_threads(n_threads)
        return index

    def _faiss_metric(self, faiss: Any) -> int:
        return faiss.METRIC_INNER_PRODUCT if self.metric == "ip" else faiss.METRIC_L2


def _n_lists(n_rows: int) -> int:
    """Number of lists: the power of two nearest to twice the root of the number of rows."""
    return max(1, min(2 ** round(log2(2 * sqrt(n_rows))), n_rows // MIN_ROWS_PER_LIST))


def _faiss() -> Any:
    # faiss logs a line for every instruction set that it was not built for
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)
    import faiss

    return faiss
