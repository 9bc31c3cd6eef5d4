"""Queries and gallery rows replaced by weighted means of their neighbours.

Average query expansion: Chum, Philbin, Sivic, Isard, Zisserman 2007, "Total Recall", ICCV. Weights
cos^alpha: Radenovic, Tolias, Chum 2018, "Fine-tuning CNN Image Retrieval with No Human Annotation",
https://arxiv.org/abs/1711.02512, section 3.4. Database augmentation: Arandjelovic, Zisserman 2012.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vmf_embeddings.search.nearest import NearestSearch

_BLOCK_ROWS = 4096


def expand_queries(
    queries: Tensor,
    gallery: Tensor,
    n: int = 10,
    alpha: float = 3.0,
    *,
    exclude: Tensor | None = None,
) -> Tensor:
    """Alpha query expansion: q' = q + sum over the n nearest x of max(q.x, 0)^alpha x, normalised.

    Args:
        queries: [Q, D], normalised here; a row of length 0 stays 0.
        gallery: [G, D], likewise.
        n: nearest gallery rows that are added, >= 0; 0 = none, the queries themselves.
        alpha: >= 0; 0 = average query expansion, in which each of them counts 1.
        exclude: gallery rows that a query is not expanded by, such as itself: [Q] or [Q, E], -1
            for none.

    Returns:
        Unit rows [Q, D] in float64.

    Raises:
        ValueError: n or alpha is negative, or shapes do not fit.

    Example:
        >>> gallery = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        >>> expand_queries(torch.tensor([[1.0, 1.0]]), gallery[:1], n=1, alpha=0.0)
        tensor([[0.3827, 0.9239]], dtype=torch.float64)
    """
    _check(n, alpha)
    unit, rows = normalize(queries.double(), dim=1), normalize(gallery.double(), dim=1)
    return _expanded(unit, rows, n, alpha, exclude)


def augment_gallery(gallery: Tensor, n: int = 10, alpha: float = 3.0) -> Tensor:
    """Database augmentation: every gallery row becomes the weighted mean of its n nearest.

    The row itself is one of the n, with weight 1; the others have the weights of `expand_queries`.

    Args:
        gallery: [G, D], normalised here.
        n: >= 0; 0 and 1 = the gallery itself.
        alpha: >= 0.

    Returns:
        Unit rows [G, D] in float64.
    """
    _check(n, alpha)
    rows = normalize(gallery.double(), dim=1)
    own = torch.arange(len(rows), device=rows.device)
    return _expanded(rows, rows, max(0, n - 1), alpha, own)


def _expanded(
    queries: Tensor, gallery: Tensor, n: int, alpha: float, exclude: Tensor | None
) -> Tensor:
    if n == 0 or len(gallery) == 0:
        return queries
    search, expanded = NearestSearch(gallery, metric="ip"), queries.clone()
    for first in range(0, len(queries), _BLOCK_ROWS):
        part = slice(first, first + _BLOCK_ROWS)
        left_out = None if exclude is None else exclude[part]
        columns, cosines = search(queries[part], n, exclude=left_out)
        weights = cosines.clamp_min(0) ** alpha * (columns >= 0)
        for place in range(n):
            neighbours = gallery[columns[:, place].clamp_min(0)]
            expanded[part] += weights[:, place, None] * neighbours
    return normalize(expanded, dim=1)


def _check(n: int, alpha: float) -> None:
    if n < 0:
        raise ValueError(f"query expansion: n, the neighbours added, must be >= 0, got {n}")
    if not 0 <= alpha < float("inf"):
        raise ValueError(f"query expansion: alpha must be a number >= 0, got {alpha}")
