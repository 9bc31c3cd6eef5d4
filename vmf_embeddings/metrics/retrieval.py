"""Retrieval scores from ranks: Recall@k, R-precision, MAP@R, mean average precision, MRR.

MAP@R: Musgrave, Belongie, Lim 2020, "A Metric Learning Reality Check",
https://arxiv.org/abs/2003.08505, section 3.2. Memory: a few tiles of scores, and one count for
every pair of rows of a class.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_codes
from vmf_embeddings.metrics.retrieval_scores import (
    Cutoff,
    RetrievalScores,
    add_ranks,
    mean_scores,
    no_ranks,
)
from vmf_embeddings.search.by_class import ByClass, by_class
from vmf_embeddings.search.exact import Similarity, check_comparison
from vmf_embeddings.search.ranks import ProcessGroup, Progress, negatives_before
from vmf_embeddings.search.same_image import same_image

Ties = Literal["expected", "index"]
TIES = ("expected", "index")


def retrieval(
    embeddings: Array,
    labels: Array,
    *,
    similarity: Similarity | None = None,
    metric: str | None = None,
    ks: Sequence[int] = (1,),
    is_query: Array | None = None,
    is_gallery: Array | None = None,
    cutoffs: Sequence[Cutoff] = (),
    ranking_ks: Sequence[int] = (),
    only_recall: bool = False,
    ties: Ties = "expected",
    paths: Array | None = None,
    images: Array | None = None,
    ignore_labels: Sequence[object] = (),
    process_group: ProcessGroup | None = None,
    progress: Progress | None = None,
) -> RetrievalScores:
    """Rank every query's positives among the gallery; a query is not its own neighbour.

    Ranks are those of float64 similarities. Rows of equal similarity have no order: scores are
    their means over all orders (`metrics.ties`), unless `ties` is "index".

    Args:
        embeddings: [N, D], projected for the similarity (`Geometry.project`).
        labels: [N] of any sortable type: integers (not necessarily contiguous), text, ….
        similarity: takes [Q, D] and [G, D] in float64, gives [Q, G], larger is closer.
        metric: "ip" or "l2" instead of `similarity`, if it gives the same order; faster.
        ks: the k of Recall@k, each >= 1.
        is_query: [N] bool, query rows; None = all.
        is_gallery: [N] bool, gallery rows; None = all. A query that is also a gallery row is left
            out of its own ranking, by its index.
        cutoffs: the k of `map_within`, each >= 1, or "class_size".
        ranking_ks: the k of nDCG@k and others in `rows.ranking`, each >= 1.
        only_recall: rank the nearest positive only; all scores but Recall@k and the mean
            reciprocal rank are then NaN.
        ties: "expected", or "index": of equal rows that of the lowest number comes first, and
            scores depend on the order of rows.
        paths: [N] names of image files: a query is not compared with rows of the same name
            (`search.same_image`), whatever their labels. None = every row is another image.
        images: [N] integers instead of `paths`: a query is not compared with rows of its number.
        ignore_labels: labels that mean "no class": their rows are no queries and no positives of
            each other, only negatives in the gallery.
        process_group: processes that divide the work, see `search.ranks`.
        progress: called with the fraction of the work that is done, in (0, 1].

    Returns:
        Means over queries, and the scores of every query.

    Raises:
        ValueError: shapes differ, there is no query or no gallery row, k < 1, values are not
            finite, cutoffs are given with `only_recall`, a label to ignore does not occur, or the
            rule for ties is unknown.

    >>> rows = [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9], [0.6, 0.4]]
    >>> scores = retrieval(rows, ["a", "a", "b", "b", "b"], metric="l2", ks=(1, 3))
    >>> scores.recall, round(scores.map_at_r, 3), round(scores.mean_average_precision, 3)
    ({1: 0.8, 3: 1.0}, 0.8, 0.883)
    >>> scores = retrieval(rows, ["a", "a", "b", "b", "b"], metric="l2", cutoffs=(2,))
    >>> round(scores.map_within(2), 3), round(scores.map_within_reference(2), 3)
    (0.8, 0.467)
    >>> alike = [[1.0, 0.0]] * 5  # one of the four others is of the class of the first two
    >>> scores = retrieval(alike, ["a", "a", "b", "b", "b"], metric="ip", ks=(1, 3))
    >>> float(scores.rows.recall[1].min())
    0.25
    """
    embeddings = torch.as_tensor(embeddings).detach()
    queries, gallery = _rows(is_query, len(embeddings)), _rows(is_gallery, len(embeddings))
    _check(embeddings, labels, queries, gallery, ks)
    _check_cutoffs((*cutoffs, *ranking_ks), only_recall)
    check_comparison(metric, similarity)
    check_ties(ties)
    queries = queries[~ignored_rows(labels, ignore_labels)[queries]]
    if len(queries) == 0:
        raise ValueError("no query is left: every one has a label to ignore")
    of_image = _images(paths, images, len(embeddings))
    order = by_class(as_codes(labels), queries, gallery, of_image)
    ranks = no_ranks(order, cutoffs, ranking_ks)
    ranked = negatives_before(
        embeddings, order, metric=metric, similarity=similarity, best_only=only_recall,
        share_ties=ties == "expected", process_group=process_group, progress=progress,
    )  # fmt: skip
    for part in ranked:
        add_ranks(ranks, order, part, only_recall)
    n_same_image = 0 if of_image is None else _with_excluded_others(order)
    return mean_scores(ranks, ks, n_same_image)


def check_ties(ties: str) -> None:
    """Check the name of a rule for ties.

    Raises:
        ValueError: it is unknown.
    """
    if ties not in TIES:
        raise ValueError(f"ties={ties!r} is unknown; known: {', '.join(TIES)}")


def ignored_rows(labels: Array, ignore_labels: Sequence[object]) -> Tensor:
    """Which rows [N] bool have one of the labels that mean "no class".

    Raises:
        ValueError: one of these labels does not occur.

    >>> ignored_rows([3, -1, 4], [-1]).tolist(), ignored_rows(["a", "none"], ["none"]).tolist()
    ([False, True, False], [False, True])
    """
    values = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    ignored = np.zeros(len(values), bool)
    if isinstance(ignore_labels, str) or not isinstance(ignore_labels, Sequence):
        raise ValueError(f"ignore_labels: expected a list of labels, got {ignore_labels!r}")
    for label in ignore_labels:
        is_it = np.asarray(values == label)
        if is_it.shape != values.shape or not is_it.any():
            known = np.unique(values)
            some = ", ".join(map(repr, known[:8].tolist())) + (", …" if len(known) > 8 else "")
            raise ValueError(f"ignore_labels: no row has the label {label!r}; there are {some}")
        ignored |= is_it
    return torch.from_numpy(ignored)


def _images(paths: Array | None, images: Array | None, n_rows: int) -> Tensor | None:
    if images is not None:
        numbers = as_codes(images)
        if paths is not None or len(numbers) != n_rows:
            raise ValueError(f"images must be [{n_rows}], without paths, got {len(numbers)}")
        return numbers
    if paths is not None and len(paths) != n_rows:
        raise ValueError(f"paths must be one for each of the {n_rows} rows, got {len(paths)}")
    return None if paths is None else same_image(list(paths))


def _with_excluded_others(order: ByClass) -> int:
    """Number of queries that are not compared with some row besides themselves."""
    query, place = order.excluded
    others = query[order.queries[query] != order.gallery[place]]
    return len(others.unique())


def _rows(mask: Array | None, n_rows: int) -> Tensor:
    if mask is None:
        return torch.arange(n_rows)
    mask = torch.as_tensor(mask)
    if mask.shape != (n_rows,) or mask.dtype != torch.bool:
        raise ValueError(
            f"query and gallery masks must be bool [{n_rows}], got {mask.dtype} {list(mask.shape)}"
        )
    return mask.cpu().nonzero().squeeze(1)


def _check(
    embeddings: Tensor, labels: Array, queries: Tensor, gallery: Tensor, ks: Sequence[int]
) -> None:
    if embeddings.ndim != 2 or len(embeddings) != len(labels):
        raise ValueError(
            f"embeddings must be [N, D] and labels [N], got {list(embeddings.shape)} "
            f"and {len(labels)} labels"
        )
    if len(queries) == 0 or len(gallery) == 0:
        raise ValueError(
            f"{len(queries)} queries and {len(gallery)} gallery rows: need some of each"
        )
    if not torch.isfinite(embeddings).all():
        raise ValueError("the embeddings hold NaN or infinite values, so neighbours are undefined")
    if not ks or min(ks) < 1:
        raise ValueError(f"the k of Recall@k must be 1 or more, got {list(ks)}")


def _check_cutoffs(cutoffs: Sequence[Cutoff], only_recall: bool) -> None:
    if only_recall and cutoffs:
        raise ValueError("cutoffs need all ranks of a class: leave only_recall out")
    for cutoff in cutoffs:
        if cutoff != "class_size" and (isinstance(cutoff, str) or cutoff < 1):
            raise ValueError(f'a cutoff is a whole number >= 1 or "class_size", got {cutoff!r}')
