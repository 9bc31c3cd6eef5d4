"""What validation computes: accuracy and NLL, or Recall@1 and MAP@R by the embeddings."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vmf_embeddings.datasets.base import Split
from vmf_embeddings.methods.base import Method
from vmf_embeddings.metrics import retrieval
from vmf_embeddings.search import nearest
from vmf_embeddings.search.same_image import rows_of_same_image, same_image

_BLOCK_ELEMENTS = 2**22  # logits that are widened to float64 together


@torch.no_grad()
def accuracy(method: Method, embeddings: Tensor, labels: Tensor, batch_size: int) -> float:
    """Fraction of [N, D] embeddings whose most probable class is their label [N]."""
    return top_accuracies((1,), method, embeddings, labels, batch_size)[0]


def top_accuracies(
    ks: Sequence[int], method: Method, embeddings: Tensor, labels: Tensor, batch_size: int
) -> list[float]:
    """Fractions of [N, D] embeddings with their label [N] among the k most probable classes.

    Args:
        ks: values of k, from 1 to the number of classes, in ascending order.
        method: its `predict` gives the probabilities.
        embeddings: [N, D].
        labels: classes [N].
        batch_size: embeddings per call of `predict`.
    """
    hits = top_hits(ks, method, embeddings, labels, batch_size)
    return (hits.double() / len(labels)).tolist()


def top_hits(
    ks: Sequence[int], method: Method, embeddings: Tensor, labels: Tensor, batch_size: int
) -> Tensor:
    """Numbers of rows with their label among the k most probable classes, [len(ks)] int64.

    Arguments are those of `top_accuracies`; there may be no rows.
    """
    total = torch.zeros(len(ks), dtype=torch.int64, device=embeddings.device)
    for e, y in zip(embeddings.split(batch_size), labels.split(batch_size), strict=True):
        if len(e):
            total += _hits(ks, method.predict(e), y)
    return total


def _hits(ks: Sequence[int], probabilities: Tensor, labels: Tensor) -> Tensor:
    """Numbers of rows of [B, C] with their label among the k most probable classes, [len(ks)]."""
    if ks[-1] == 1:
        ranked = probabilities.argmax(1, keepdim=True)
    else:
        ranked = probabilities.topk(ks[-1], 1).indices
    hits = ranked == labels[:, None]
    return torch.stack([hits[:, :k].any(1).sum() for k in ks])


def hits_and_loss(method: Method, embeddings: Tensor, labels: Tensor, batch_size: int) -> Tensor:
    """How many rows are predicted rightly, and the sum of their losses, by the same logits.

    The loss of a row is -log p(class), p averaged over the draws of the logits, as in
    `metrics.negative_log_likelihood`; it is finite where p itself would be rounded to 0.

    Args:
        method: its `logits` give the probabilities.
        embeddings: [N, D]; there may be none.
        labels: classes [N].
        batch_size: embeddings per call of `logits`.

    Returns:
        [2] float64: hits and nats.
    """
    total = torch.zeros(2, dtype=torch.float64, device=embeddings.device)
    for e, y in zip(embeddings.split(batch_size), labels.split(batch_size), strict=True):
        if len(e):
            logits = method.logits(e)
            probabilities = logits.softmax(-1)  # as `Method.predict`
            drawn = probabilities.ndim == 3
            total[0] += _hits((1,), probabilities.mean(1) if drawn else probabilities, y)[0]
            total[1] += log_losses_of_logits(logits, y).sum()
    return total


def log_losses_of_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p(class) of each row [B], nats, float64, from logits [B, C] or [B, S, C] of S draws."""
    step = max(1, _BLOCK_ELEMENTS // logits[0].numel())
    parts = zip(logits.split(step), labels.split(step), strict=True)
    return torch.cat([mean_over_draws(_log_probability(z.double(), y)) for z, y in parts])


def _log_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """Log softmax at the label: [B] of logits [B, C], [B, S] of [B, S, C]."""
    index = labels.view(-1, *[1] * (logits.ndim - 1)).expand(*logits.shape[:-1], 1)
    return logits.gather(-1, index).squeeze(-1) - logits.logsumexp(-1)


def mean_over_draws(log_probabilities: Tensor) -> Tensor:
    """-log of the mean over draws of probabilities whose logs are [B], without draws, or [B, S]."""
    if log_probabilities.ndim == 1:
        return -log_probabilities
    return math.log(log_probabilities.shape[1]) - log_probabilities.logsumexp(1)


def recall_at_1(method: Method, embeddings: Tensor, split: Split, search: str) -> float:
    """Fraction of a split's queries whose nearest other gallery row has their label.

    Args:
        method: its geometry compares the embeddings.
        embeddings: [N, D] of the split.
        split: see `recall_at`.
        search: `auto`, `torch` or `faiss`.
    """
    return recall_at((1,), method, embeddings, split, search)[0]


@torch.no_grad()
def recall_at(
    ks: Sequence[int], method: Method, embeddings: Tensor, split: Split, search: str
) -> list[float]:
    """Fractions of a split's queries with their label among the k nearest other gallery rows.

    Rows of the query's own image are not compared with it. Where the k nearest end among rows of
    equal score, the fraction is the mean over all orders of these, as in `metrics.retrieval`.

    Args:
        ks: values of k, each >= 1; a k above the number of candidates means all of them.
        method: its geometry compares the embeddings.
        embeddings: [N, D] of the split.
        split: its `is_query` and `is_gallery` select rows; None means that all rows are both. Its
            `paths`, where it has them, name the images.
        search: `auto`, `torch` or `faiss`.

    Returns:
        One fraction in [0, 1] for each k.
    """
    geometry = method.geometry
    rows, device = geometry.project(embeddings), embeddings.device
    queries, gallery = (
        torch.arange(len(rows)) if mask is None else mask.cpu().nonzero().squeeze(1)
        for mask in (split.is_query, split.is_gallery)
    )
    images = same_image(split.paths)
    images = torch.arange(len(rows)) if images is None else images
    neighbours, scores = nearest(
        rows[queries.to(device)],
        rows[gallery.to(device)],
        min(max(ks) + 1, len(gallery)),
        similarity=geometry.similarity,
        metric=geometry.faiss_metric,
        exclude=rows_of_same_image(images[queries], images[gallery]),
        backend=search,
    )
    found = neighbours.cpu()
    labels = split.labels.cpu()
    hits = (labels[gallery][found] == labels[queries][:, None]) & (found >= 0)
    recalls = [hits[:, :k].any(1).double() for k in ks]
    tied = end_among_ties(ks, scores.cpu(), product_error(rows, geometry.faiss_metric))
    if tied.any():
        is_query, is_gallery = (torch.zeros(len(rows), dtype=torch.bool) for _ in range(2))
        is_query[queries[tied]] = is_gallery[gallery] = True
        shared = retrieval(
            rows, labels, similarity=geometry.similarity, metric=geometry.faiss_metric, ks=ks,
            is_query=is_query, is_gallery=is_gallery, only_recall=True, paths=split.paths,
        )  # fmt: skip
        for recall, k in zip(recalls, ks, strict=True):
            recall[tied] = shared.rows.recall[k]
    return [float(recall.sum()) / len(queries) for recall in recalls]


@torch.no_grad()
def map_at_r(method: Method, embeddings: Tensor, split: Split) -> float:
    """MAP@R of a split's queries among its gallery, a fraction in [0, 1], see `metrics.retrieval`.

    Args:
        method: its geometry compares the embeddings.
        embeddings: [N, D] of the split.
        split: see `recall_at`.
    """
    geometry = method.geometry
    return retrieval(
        geometry.project(embeddings), split.labels, similarity=geometry.similarity,
        metric=geometry.faiss_metric, is_query=split.is_query, is_gallery=split.is_gallery,
        paths=split.paths,
    ).map_at_r  # fmt: skip


def product_error(rows: Tensor, metric: str | None) -> float:
    """More than the float64 scores of rows [N, D] differ by where they are equal; 0 without one.

    Whether rows that differ by less are tied is then decided exactly.
    """
    if metric is None or len(rows) == 0:
        return 0.0
    return 1e-11 * float(4 * rows.double().norm(dim=1).max().square())


def end_among_ties(ks: Sequence[int], scores: Tensor, error: float) -> Tensor:
    """Queries [Q] bool whose k-th and next neighbours may have equal scores, for one of the k.

    Args:
        ks: values of k.
        scores: [Q, n] float64 of the nearest, best first; n > k unless there are no more.
        error: scores that differ by this or less may be equal, >= 0.
    """
    tied = torch.zeros(len(scores), dtype=torch.bool)
    for k in ks:
        if k < scores.shape[1]:
            tied |= scores[:, k - 1] - scores[:, k] <= error
    return tied
