"""The validation metric: accuracy, or Recall@1 if the split's classes are new to the method."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vmf_embeddings.datasets.base import Split
from vmf_embeddings.methods.base import Method
from vmf_embeddings.search import nearest

ACCURACY, RECALL_AT_1 = "accuracy", "Recall@1"


def metric_name(method: Method, *, open_set: bool) -> str:
    """Which metric validation computes.

    Args:
        method: what is validated.
        open_set: whether the classes of held-out splits are unknown to the method.

    Returns:
        `Recall@1` on open sets and for methods without logits, else `accuracy`.
    """
    return RECALL_AT_1 if open_set or not method.has_logits else ACCURACY


def validation_metric(
    method: Method,
    embeddings: Tensor,
    split: Split,
    *,
    open_set: bool,
    batch_size: int,
    search: str,
) -> float:
    """The metric of `metric_name` on a held-out split.

    Args:
        method: trained method.
        embeddings: [N, D] of the split, from `embed_split`.
        split: held-out split.
        open_set: whether its classes are unknown to the method.
        batch_size: embeddings per call of `Method.predict`.
        search: backend of the nearest-neighbour search, `auto`, `torch` or `faiss`.

    Returns:
        Fraction in [0, 1].
    """
    if metric_name(method, open_set=open_set) == RECALL_AT_1:
        return recall_at_1(method, embeddings, split, search)
    labels = split.labels.to(embeddings.device)
    return accuracy(method, embeddings, labels, batch_size)


@torch.no_grad()
def accuracy(method: Method, embeddings: Tensor, labels: Tensor, batch_size: int) -> float:
    """Fraction of [N, D] embeddings whose most probable class is their label [N]."""
    correct = [
        (method.predict(e).argmax(1) == y).sum()
        for e, y in zip(embeddings.split(batch_size), labels.split(batch_size), strict=True)
    ]
    return float(torch.stack(correct).sum()) / len(labels)


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

    Args:
        ks: values of k, each >= 1; a k above the number of candidates means all of them.
        method: its geometry compares the embeddings.
        embeddings: [N, D] of the split.
        split: its `is_query` and `is_gallery` select rows; None means that all rows are both.
        search: `auto`, `torch` or `faiss`.

    Returns:
        One fraction in [0, 1] for each k.
    """
    geometry = method.geometry
    rows, device = geometry.project(embeddings), embeddings.device
    everything = torch.ones(len(rows), dtype=torch.bool, device=device)
    queries, gallery = (
        (everything if mask is None else mask.to(device)).nonzero().squeeze(1)
        for mask in (split.is_query, split.is_gallery)
    )
    gallery_position = torch.full((len(rows),), -1, device=device)  # -1: not in the gallery
    gallery_position[gallery] = torch.arange(len(gallery), device=device)
    neighbours, _ = nearest(
        rows[queries],
        rows[gallery],
        min(max(ks), len(gallery)),
        similarity=geometry.similarity,
        metric=geometry.faiss_metric,
        exclude=gallery_position[queries],
        backend=search,
    )
    labels = split.labels.to(device)
    found = neighbours.to(device)
    hits = (labels[gallery][found] == labels[queries][:, None]) & (found >= 0)
    return [int(hits[:, :k].any(1).sum()) / len(queries) for k in ks]
