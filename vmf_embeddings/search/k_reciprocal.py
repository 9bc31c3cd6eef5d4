"""Re-ranking by k-reciprocal encoding: neighbours that are mutual count.

Zhong, Zheng, Cao, Li 2017, "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR,
https://arxiv.org/abs/1701.08398. The published program keeps several N x N matrices; here only the
encodings of the rows are kept, sparse, with some tens of entries each.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings import native, threads
from vmf_embeddings.search.exact import inner_product, negative_squared_distance
from vmf_embeddings.search.nearest import NearestSearch

if TYPE_CHECKING:
    from scipy import sparse

_BLOCK_ELEMENTS = 2**22
_LEAST_QUERIES = 64  # fewer are not worth another thread
_OVERLAP = 2 / 3  # of a neighbour's set that must be shared before its rows are joined


class KReciprocal:
    """Distances (1 - lambda) Jaccard + lambda d between rows, by their mutual neighbours.

    d is the squared Euclidean distance, divided by the largest one of the query. With unit rows,
    it orders as the cosine does. All rows given take part in the encoding of each, so the result
    for one query depends on the other queries.

    Args:
        rows: [N, D], queries and gallery rows together, each once, as they are compared.
        k1: neighbours that must be mutual, >= 1.
        k2: neighbours whose encodings are averaged, the row itself included; 1 = none.
        weight: lambda in [0, 1]; 1 = the order of d.

    Raises:
        ValueError: a parameter is out of range, or values are not finite.

    Example:
        >>> rows = torch.tensor([[0.0], [0.1], [0.3], [5.0]])
        >>> distances = KReciprocal(rows, k1=1, k2=1).distances(torch.tensor([0]))
        >>> distances.argsort().tolist()
        [[0, 1, 2, 3]]
    """

    def __init__(self, rows: Tensor, k1: int = 20, k2: int = 6, weight: float = 0.3) -> None:
        if k1 < 1 or k2 < 1 or not 0 <= weight <= 1:
            raise ValueError(
                "k-reciprocal re-ranking: expected k1 >= 1, k2 >= 1 and lambda in [0, 1], got "
                f"k1={k1}, k2={k2}, lambda={weight}"
            )
        self.rows, self.weight = rows.double(), weight
        nearest = _nearest(self.rows, max(k1, k2 - 1))
        self.largest = _largest_distances(self.rows)
        members = _expanded_sets(nearest[:, : k1 + 1], round(k1 / 2))  # half to even
        codes = self._encodings(members)
        if k2 > 1:
            codes = _neighbour_means(len(rows), nearest[:, :k2]) @ codes
        self.codes = _csr(codes)
        self._by_column = self.codes.tocsc()

    def _encodings(self, members: "sparse.csr_array") -> "sparse.csr_array":
        """V [N, N]: exp(-d) on the set of each row, divided by its sum."""
        line, column = members.nonzero()
        squares = np.empty(len(line))
        for first in range(0, len(line), _BLOCK_ELEMENTS // 16):
            part = slice(first, first + _BLOCK_ELEMENTS // 16)
            x, y = (
                self.rows[torch.from_numpy(line[part])],
                self.rows[torch.from_numpy(column[part])],
            )
            squares[part] = (x - y).square().sum(1).cpu().numpy()
        values = np.exp(-squares / self.largest.cpu().numpy()[line])
        sums = np.bincount(line, values, minlength=len(self.rows))
        return _csr((values / sums[line], (line, column)), shape=members.shape)

    def distances(self, queries: Tensor, gallery: Tensor | None = None) -> Tensor:
        """Re-ranked distances of rows to rows.

        Args:
            queries: int64 [Q], numbers of rows.
            gallery: int64 [G], likewise; None = all rows.

        Returns:
            float64 [Q, G] in [0, 1]; smaller = closer.
        """
        others = self.rows if gallery is None else self.rows[gallery]
        squares = -negative_squared_distance(self.rows[queries], others)
        distances = squares.clamp_min_(0) / self.largest[queries, None]
        if self.weight == 1:
            return distances
        shared = torch.from_numpy(self._shared(queries.cpu().numpy())).to(distances.device)
        shared = shared if gallery is None else shared[:, gallery]
        jaccard = (1 - shared / (2 - shared)).clamp_min_(0)  # `shared` may exceed 1 by rounding
        return (1 - self.weight) * jaccard + self.weight * distances

    def _shared(self, queries: np.ndarray) -> np.ndarray:
        """sum_c min(V_ic, V_jc) of queries i with all rows j, [Q, N]."""
        codes, columns, n_rows = self.codes, self._by_column, len(self.rows)
        shared = np.zeros((len(queries), n_rows))
        if native.enabled():
            from vmf_embeddings.search.kernels.shared import add_least

            by_row = codes.indptr, codes.indices, codes.data
            by_column = columns.indptr, columns.indices, columns.data

            def work(first: int, end: int) -> None:
                add_least(queries[first:end], *by_row, *by_column, shared[first:end])

            threads.in_threads(work, len(queries), least=_LEAST_QUERIES)
            return shared
        for place, query in enumerate(queries):
            own = slice(codes.indptr[query], codes.indptr[query + 1])
            firsts = columns.indptr[codes.indices[own]]
            sizes = columns.indptr[codes.indices[own] + 1] - firsts
            # the entries of all those columns, one after another
            entries = np.arange(sizes.sum()) + np.repeat(firsts - sizes.cumsum() + sizes, sizes)
            least = np.minimum(columns.data[entries], np.repeat(codes.data[own], sizes))
            shared[place] = np.bincount(columns.indices[entries], least, minlength=n_rows)
        return shared


def _csr(*of: Any, **options: Any) -> "sparse.csr_array":
    """A sparse matrix; SciPy is imported here, for most evaluations do without it."""
    from scipy import sparse

    return sparse.csr_array(*of, **options)


def _nearest(rows: Tensor, k: int) -> np.ndarray:
    """Each row and its k nearest others, nearest first, [N, 1 + min(k, N - 1)]."""
    own = torch.arange(len(rows), device=rows.device)
    k = min(k, len(rows) - 1)
    if k == 0:
        return own[:, None].cpu().numpy()
    columns, _ = NearestSearch(rows, metric="l2")(rows, k, exclude=own)
    return torch.cat([own[:, None], columns], 1).cpu().numpy()


def _largest_distances(rows: Tensor) -> Tensor:
    """The largest squared distance of each row to a row [N]; 1 where all rows are equal."""
    lengths = rows.square().sum(1)
    step, largest = max(1, _BLOCK_ELEMENTS // len(rows)), torch.empty_like(lengths)
    for first in range(0, len(rows), step):
        part = slice(first, first + step)
        farthest = (lengths - 2 * inner_product(rows[part], rows)).amax(1)
        largest[part] = farthest + lengths[part]
    return torch.where(largest > 0, largest, 1.0)


def _expanded_sets(nearest: np.ndarray, half: int) -> "sparse.csr_array":
    """R* of each row as 0 and 1, [N, N]: its mutual neighbours, and those of similar neighbours.

    Args:
        nearest: [N, 1 + k1], each row and its nearest ones.
        half: neighbours that are looked at in the sets of neighbours.
    """
    mutual, narrow = _mutual(nearest), _mutual(nearest[:, : half + 1])
    # how many rows of the narrow set of j are in the set of i, where j is in the set of i
    common = mutual.multiply(mutual @ narrow.T).tocoo()
    sizes = narrow.sum(1)
    joined = common.data > _OVERLAP * sizes[common.col]
    joins = _csr(
        (np.ones(joined.sum()), (common.row[joined], common.col[joined])), shape=mutual.shape
    )
    return _csr((mutual + joins @ narrow) > 0)


def _mutual(nearest: np.ndarray) -> "sparse.csr_array":
    """Which rows have each other among their nearest, 0 or 1 [N, N]; the row itself included."""
    n_rows, width = nearest.shape
    line = np.repeat(np.arange(n_rows), width)
    lists = _csr((np.ones(line.size), (line, nearest.ravel())), shape=(n_rows, n_rows))
    return _csr(lists.multiply(lists.T))


def _neighbour_means(n_rows: int, nearest: np.ndarray) -> "sparse.csr_array":
    """The matrix [N, N] that averages over the rows of each line of `nearest` [N, k2]."""
    width = nearest.shape[1]
    line = np.repeat(np.arange(n_rows), width)
    values = np.full(line.size, 1 / width)
    return _csr((values, (line, nearest.ravel())), shape=(n_rows, n_rows))
