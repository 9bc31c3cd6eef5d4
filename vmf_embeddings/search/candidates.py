"""Fast exact neighbours: candidates from float32 scores (torch or faiss), verified in float64.

Float32 cannot order close neighbours, and two libraries round differently. So more candidates than
the k neighbours are fetched and scored again in float64. Their order is accepted where, by the
bound on rounding errors, no other row can be among the k nearest; all other queries are searched
in float64.
"""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from vmf_embeddings.search.exact import BLOCK_ELEMENTS, ExactSearch, empty_answer, order_ties
from vmf_embeddings.search.precision import full_float32_products

EXTRA_CANDIDATES = 16  # candidates beyond k
ROUNDING = 2.0**-24  # unit roundoff of float32

Fetch = Callable[[Tensor, int], tuple[Tensor, Tensor]]
MakeFetch = Callable[[Tensor, str], Fetch]


def torch_candidates(gallery: Tensor, metric: str) -> Fetch:
    """A function that finds the k largest q.y (ip) or q.y - |y|^2 / 2 (l2) in float32, by blocks.

    Args:
        gallery: [G, D] float32.
        metric: "ip" or "l2".

    Returns:
        (queries [Q, D] float32, k) -> gallery indices and scores, both [Q, k].
    """
    shift = gallery.square().sum(1) / 2 if metric == "l2" else gallery.new_zeros(())
    step = max(1, 2 * BLOCK_ELEMENTS // len(gallery))

    def fetch(queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        columns, scores = empty_answer(queries, k, queries.dtype)
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            with full_float32_products(queries.device):
                products = queries[part] @ gallery.T
            scores[part], columns[part] = products.sub_(shift).topk(k, dim=1)
        return columns, scores

    return fetch


def faiss_candidates(gallery: Tensor, metric: str) -> Fetch:
    """`torch_candidates` by a flat faiss index, on the GPU if faiss supports one.

    Args:
        gallery: [G, D] float32.
        metric: "ip" or "l2".

    Returns:
        (queries [Q, D] float32, k) -> gallery indices and scores, both [Q, k].
    """
    # faiss logs a line for every instruction set that it was not built for
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)
    import faiss

    make = faiss.IndexFlatIP if metric == "ip" else faiss.IndexFlatL2
    index = make(gallery.shape[1])
    if hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0:
        index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    index.add(gallery.cpu().numpy())

    def fetch(queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        values, columns = index.search(queries.cpu().numpy(), k)
        scores = torch.from_numpy(values).to(queries.device)
        if metric == "l2":
            scores = (queries.square().sum(1, keepdim=True) - scores) / 2
        return torch.from_numpy(columns).to(queries.device), scores

    return fetch


def order_candidates(
    queries: Tensor, gallery: Tensor, metric: str, candidates: Tensor, k: int, exclude: Tensor
) -> tuple[Tensor, Tensor]:
    """The k best of each query's candidates by float64 scores; ties by the smaller index.

    Args:
        queries: [Q, D].
        gallery: [G, D].
        metric: "ip" or "l2".
        candidates: gallery rows [Q, n], n >= k; -1 for none.
        k: how many are kept.
        exclude: gallery rows [Q, E] that get -inf; -1 for none.

    Returns:
        Indices and scores [Q, k]: inner products, or minus squared distances.
    """
    # filled in place: small results kept between large temporaries fragment the heap
    columns, scores = empty_answer(queries, k)
    step = max(1, BLOCK_ELEMENTS // 4 // (candidates.shape[1] * queries.shape[1]))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        exact = _scores(queries[part].double(), gallery, metric, candidates[part])
        for left_out in exclude[part].unbind(1):
            exact = exact.masked_fill(candidates[part] == left_out[:, None], -torch.inf)
        ordered, exact = order_ties(candidates[part], exact)
        columns[part], scores[part] = ordered[:, :k], exact[:, :k]
    return columns, scores


def _scores(queries: Tensor, gallery: Tensor, metric: str, columns: Tensor) -> Tensor:
    """Float64 scores [Q, n] of gallery rows `columns` [Q, n], all summed in the same order."""
    rows = gallery[columns.clamp_min(0)].double()
    if metric == "ip":
        exact = (queries[:, None, :] * rows).sum(-1)
    else:
        exact = -(queries[:, None, :] - rows).square().sum(-1)
    return exact.masked_fill_(columns < 0, -torch.inf)


def rounding_bound(queries: Tensor, largest_norm: Tensor) -> Tensor:
    """Largest error [Q] of a float32 q.y or q.y - |y|^2 / 2, summed in any order.

    It is (D + 8) * 2^-24 * (|q| + |y|)^2, where the 8 accounts for the rounding of the norms.

    Args:
        queries: [Q, D].
        largest_norm: of the gallery's rows, float64 [].
    """
    norms = queries.double().norm(dim=1)
    return (queries.shape[1] + 8) * ROUNDING * (norms + largest_norm).square()


class CandidateSearch:
    """Neighbours by inner product or squared distance: float32 candidates, float64 order.

    Args:
        gallery: [G, D].
        metric: "ip" or "l2".
        make_candidates: `torch_candidates`, or another one of the same results.
        exact: returns the float64 search over the same gallery, for queries that float32 does not
            decide.
    """

    def __init__(
        self,
        gallery: Tensor,
        metric: str,
        make_candidates: MakeFetch,
        exact: Callable[[], ExactSearch],
    ) -> None:
        self.gallery = gallery
        self.metric = metric
        self.fetch = make_candidates(gallery.float().contiguous(), metric)
        self.exact = exact
        self.largest_norm = gallery.double().norm(dim=1).max()

    def __call__(self, queries: Tensor, k: int, exclude: Tensor) -> tuple[Tensor, Tensor]:
        """Indices and scores [Q, k] for k <= G; gallery rows `exclude` [Q, E] get -inf."""
        n_candidates = min(k + EXTRA_CANDIDATES + exclude.shape[1] - 1, len(self.gallery))
        candidates, rounded = self.fetch(queries.float().contiguous(), n_candidates)
        rows = self.gallery, self.metric
        columns, scores = order_candidates(queries, *rows, candidates, k, exclude)
        if n_candidates < len(self.gallery):
            again = ~self._is_certain(queries, scores[:, -1], rounded[:, -1].double())
            if again.any():
                left, own = queries[again], exclude[again]
                candidates, _ = self.exact()(left, n_candidates, own)
                found = order_candidates(left, *rows, candidates, k, own)
                columns[again], scores[again] = found
        return columns, scores

    def _is_certain(self, queries: Tensor, kth_score: Tensor, worst_candidate: Tensor) -> Tensor:
        """Whether no row outside the candidates can reach the k-th best score.

        Args:
            queries: [Q, D].
            kth_score: [Q] float64 score of the k-th neighbour.
            worst_candidate: [Q] float32 score of the last candidate.

        Returns:
            [Q] bool.
        """
        if self.metric == "l2":
            kth_score = (kth_score + queries.double().square().sum(1)) / 2
        return kth_score > worst_candidate + rounding_bound(queries, self.largest_norm)
