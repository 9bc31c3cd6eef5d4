"""Fast neighbours: candidates from float32 scores (torch or faiss), ordered and proved in float64.

Float32 alone cannot order close neighbours, and two libraries round differently. So more
candidates than asked for are fetched and scored again in float64, and the answer is taken only
where, by the rounding bound, no other row can belong to it; other queries are searched in float64.
"""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from vmf_embeddings.search.exact import BLOCK_ELEMENTS, ExactSearch, empty_answer, order_ties

MARGIN = 16  # candidates beyond those asked for
ROUNDING = 2.0**-24  # unit roundoff of float32

Fetch = Callable[[Tensor, int], tuple[Tensor, Tensor]]


def torch_candidates(gallery: Tensor, metric: str) -> Fetch:
    """A search for the k largest q.y (ip) or q.y - |y|^2 / 2 (l2) in float32, by blocks.

    Args:
        gallery: [G, D] float32.
        metric: "ip" or "l2".

    Returns:
        A function of queries [Q, D] float32 and k that gives columns and scores [Q, k].
    """
    shift = gallery.square().sum(1) / 2 if metric == "l2" else gallery.new_zeros(())
    step = max(1, 2 * BLOCK_ELEMENTS // len(gallery))

    def fetch(queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        columns, scores = empty_answer(queries, k, queries.dtype)
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            products = queries[part] @ gallery.T
            scores[part], columns[part] = products.sub_(shift).topk(k, dim=1)
        return columns, scores

    return fetch


def faiss_candidates(gallery: Tensor, metric: str) -> Fetch:
    """The same search through a flat faiss index, on the GPU where faiss has one.

    Args:
        gallery: [G, D] float32.
        metric: "ip" or "l2".

    Returns:
        A function of queries [Q, D] float32 and k that gives columns and scores [Q, k].
    """
    # faiss tells the root logger of every instruction set that it was not built for
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


class CandidateSearch:
    """Neighbours by inner product or squared distance: float32 candidates, float64 order.

    Args:
        gallery: [G, D].
        metric: "ip" or "l2".
        make_candidates: `torch_candidates` or `faiss_candidates`.
        exact: the float64 search over the same gallery, for what cannot be proved.
    """

    def __init__(
        self,
        gallery: Tensor,
        metric: str,
        make_candidates: Callable[[Tensor, str], Fetch],
        exact: Callable[[], ExactSearch],
    ) -> None:
        self.gallery = gallery
        self.metric = metric
        self.fetch = make_candidates(gallery.float().contiguous(), metric)
        self.exact = exact
        self.largest_norm = gallery.double().norm(dim=1).max()

    def __call__(self, queries: Tensor, k: int, exclude: Tensor) -> tuple[Tensor, Tensor]:
        """Columns and scores [Q, k] for k <= G; `exclude` [Q] is left out with score -inf."""
        n_candidates = min(k + MARGIN, len(self.gallery))
        candidates, rough = self.fetch(queries.float().contiguous(), n_candidates)
        columns, scores = self._ordered(queries, candidates, k, exclude)
        if n_candidates < len(self.gallery):
            again = ~self._is_proved(queries, scores[:, -1], rough[:, -1].double())
            if again.any():
                asked, own = queries[again], exclude[again]
                candidates, _ = self.exact()(asked, n_candidates, own)
                columns[again], scores[again] = self._ordered(asked, candidates, k, own)
        return columns, scores

    def _ordered(
        self, queries: Tensor, candidates: Tensor, k: int, exclude: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The k best of each row of candidates [Q, n], by float64 scores."""
        # filled in place: small results kept between large temporaries fragment the heap
        columns, scores = empty_answer(queries, k)
        step = max(1, BLOCK_ELEMENTS // 4 // (candidates.shape[1] * queries.shape[1]))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            exact = self._score(queries[part].double(), candidates[part])
            exact = exact.masked_fill(candidates[part] == exclude[part, None], -torch.inf)
            ordered, exact = order_ties(candidates[part], exact)
            columns[part], scores[part] = ordered[:, :k], exact[:, :k]
        return columns, scores

    def _score(self, queries: Tensor, columns: Tensor) -> Tensor:
        """Float64 scores [Q, k] of chosen gallery rows, summed in the same order for every row."""
        rows = self.gallery[columns].double()
        if self.metric == "ip":
            return (queries[:, None, :] * rows).sum(-1)
        return -(queries[:, None, :] - rows).square().sum(-1)

    def _is_proved(self, queries: Tensor, kth_score: Tensor, last_rough: Tensor) -> Tensor:
        """Whether no row outside the candidates can reach the k-th score; all [Q].

        Any order of summation in float32 errs by at most (D + 8) * 2^-24 * (|q| + |y|)^2, the eight
        for the norms' own rounding.
        """
        norms = queries.double().norm(dim=1)
        bound = (queries.shape[1] + 8) * ROUNDING * (norms + self.largest_norm).square()
        if self.metric == "l2":
            kth_score = (kth_score + norms.square()) / 2
        return kth_score > last_rough + bound
