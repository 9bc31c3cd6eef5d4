"""Whether the nearest row of each query is of its class, where several rows tie as the nearest."""

import torch
from torch import Tensor

from vmf_embeddings.evaluation.context import Context, Neighbours
from vmf_embeddings.evaluation.spaces import which_rows
from vmf_embeddings.metrics import retrieval

_FIRST_NEIGHBOURS = 8  # that may tie; where all of them do, all rows are ranked
_NEAR = 1e-9  # of the range of similarities: farther apart than any rows that tie


def wrong_nearest(context: Context) -> Tensor:
    """Share of rows of another class among those that tie as the nearest of each query.

    As many as Recall@1 counts as misses; with `ties="index"` of the first of them alone.

    Returns:
        Float64 [Q]; of no use for queries without another row of their class.
    """
    ids = torch.from_numpy(context.file.ids)
    found = context.neighbours(min(_FIRST_NEIGHBOURS, max(1, len(context.pairs.gallery))))
    hits = ids[found.numbers.clamp_min(0)] == ids[found.queries][:, None]
    wrong = (~hits[:, 0]).double()
    if context.options.ties == "index":
        return wrong
    unsure = _may_tie(context, found, hits) & (context.n_relevant > 0)
    if bool(unsure.any()):
        chosen = torch.zeros(len(ids), dtype=torch.bool)
        chosen[found.queries[unsure]] = True
        geometry = context.evaluated.geometry
        scores = retrieval(
            context.rows,
            context.file.ids,
            similarity=geometry.similarity,
            metric=geometry.faiss_metric,
            only_recall=True,
            **which_rows(context.evaluated, context.options) | {"is_query": chosen.numpy()},
        )
        wrong[unsure] = 1 - scores.rows.recall[1].double().cpu()
    return wrong


def _may_tie(context: Context, found: Neighbours, hits: Tensor) -> Tensor:
    """Bool [Q], whether rows of both kinds may tie as the nearest."""
    longest = context.rows.double().norm(dim=1).max().cpu()
    size = found.similarities[found.similarities.isfinite()].abs().amax().maximum(longest.square())
    near = found.similarities >= found.similarities[:, :1] - _NEAR * size
    more = near[:, -1] & (near.shape[1] < len(context.pairs.gallery))
    return (near & (hits != hits[:, :1])).any(1) | more
