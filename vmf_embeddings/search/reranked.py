"""Nearest neighbours after re-ranking, for queries and a gallery that are sets of rows."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vmf_embeddings.search.exact import top_k
from vmf_embeddings.search.k_reciprocal import KReciprocal
from vmf_embeddings.search.nearest import nearest
from vmf_embeddings.search.query_expansion import augment_gallery, expand_queries

RERANKINGS = ("k_reciprocal", "alpha_qe", "dba")
DEFAULTS = {"k1": 20, "k2": 6, "lambda": 0.3, "n": 10, "alpha": 3.0}
"""Parameters: `k1`, `k2` and `lambda` of k_reciprocal, `n` and `alpha` of the others."""
_BY_DIRECTION = ("cosine", "vmf")
_BLOCK_ELEMENTS = 2**22


def check_reranking(way: str, geometry: str, *, is_flat: bool) -> None:
    """Refuses a way of re-ranking that is unknown or does not fit a geometry.

    Args:
        way: one of `RERANKINGS`.
        geometry: name of the geometry by which rows are compared.
        is_flat: whether they are compared by inner products or Euclidean distances.

    Raises:
        ValueError: it does not fit.
    """
    if way not in RERANKINGS:
        raise ValueError(f"rerank={way!r} is unknown; known: {', '.join(RERANKINGS)}")
    if way in ("alpha_qe", "dba") and geometry not in _BY_DIRECTION:
        raise ValueError(
            f"rerank {way} weighs neighbours by their cosine; these rows are compared by the "
            f"geometry {geometry}"
        )
    if not is_flat:
        raise ValueError(
            f"rerank {way} needs squared distances; these rows are compared by the geometry "
            f"{geometry}"
        )


def with_defaults(options: Mapping[str, float] | None) -> dict[str, float]:
    """`DEFAULTS` with some parameters replaced.

    Raises:
        ValueError: a parameter is unknown.
    """
    unknown = (options or {}).keys() - DEFAULTS.keys()
    if unknown:
        raise ValueError(
            f"rerank_options: expected some of {', '.join(DEFAULTS)}, got {sorted(unknown)}"
        )
    return {**DEFAULTS, **(options or {})}


def nearest_reranked(
    queries: Tensor,
    gallery: Tensor,
    k: int,
    way: str,
    *,
    metric: str,
    options: Mapping[str, float] | None = None,
    exclude: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The k nearest gallery rows of every query after re-ranking.

    Args:
        queries: [Q, D], projected (`Geometry.project`).
        gallery: [G, D], likewise.
        k: neighbours per query, >= 1.
        way: one of `RERANKINGS`.
        metric: "ip" or "l2".
        options: parameters that differ from `DEFAULTS`.
        exclude: [Q, E] gallery rows that are left out per query; -1 for none. Under k_reciprocal, a
            query that equals the row in its first column is that row, and not a second one.

    Returns:
        Indices int64 [Q, k], -1 where the gallery has fewer rows, and scores float64 [Q, k], there
        -inf: inner products, squared distances below 0, or minus k-reciprocal distances.
    """
    given = with_defaults(options)
    queries, gallery = queries.double(), gallery.double()
    if exclude is None:
        exclude = torch.full((len(queries), 1), -1, device=queries.device)
    if way == "k_reciprocal":
        parameters = int(given["k1"]), int(given["k2"]), float(given["lambda"])
        return _reciprocal(queries, gallery, k, parameters, exclude.to(queries.device))
    n, alpha = int(given["n"]), float(given["alpha"])
    if way == "alpha_qe":
        queries = expand_queries(queries, gallery, n, alpha, exclude=exclude)
    else:
        lengths = gallery.norm(dim=1, keepdim=True)
        gallery = lengths * augment_gallery(gallery, n, alpha)
    return nearest(queries, gallery, k, metric=metric, exclude=exclude)


def _reciprocal(
    queries: Tensor,
    gallery: Tensor,
    k: int,
    parameters: tuple[int, int, float],
    exclude: Tensor,
) -> tuple[Tensor, Tensor]:
    own = exclude[:, 0]
    if len(gallery):
        is_row = (own >= 0) & (gallery[own.clamp_min(0)] == queries).all(1)
    else:
        is_row = torch.zeros_like(own, dtype=torch.bool)
    numbers = torch.where(is_row, own, len(gallery) + (~is_row).cumsum(0) - 1)
    encoded = KReciprocal(torch.cat([gallery, queries[~is_row]]), *parameters)
    columns = own.new_full((len(queries), k), -1)
    scores = queries.new_full((len(queries), k), -torch.inf)
    n_found, every = min(k, len(gallery)), torch.arange(len(gallery), device=own.device)
    step = max(1, _BLOCK_ELEMENTS // max(1, len(gallery)))
    for first in range(0, len(queries) if n_found else 0, step):
        part = slice(first, first + step)
        found = -encoded.distances(numbers[part], every)
        line, entry = (exclude[part] >= 0).nonzero(as_tuple=True)
        found[line, exclude[part][line, entry]] = -torch.inf
        columns[part, :n_found], scores[part, :n_found] = top_k(found, n_found)
    return columns.masked_fill(scores == -torch.inf, -1), scores
