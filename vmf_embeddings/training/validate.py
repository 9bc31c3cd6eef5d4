"""The number that training selects by: accuracy, or Recall@1 where classes are new."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.methods.base import Method
from vmf_embeddings.search import nearest


def score(
    method: Method,
    embeddings: Tensor,
    split: Any,
    *,
    open_set: bool,
    batch_size: int,
    search: str,
) -> float:
    """Scores a method on a held-out split.

    Args:
        method: trained method.
        embeddings: [N, D] of the split, by `embed_split`.
        split: held-out split.
        open_set: whether the split's classes are unknown to the method.
        batch_size: embeddings a step of prediction.
        search: `auto`, `torch` or `faiss`.

    Returns:
        Fraction in [0, 1]: accuracy, or Recall@1 by the method's geometry.
    """
    if open_set or not method.has_logits:
        return recall_at_1(method, embeddings, split, search)
    labels = split.labels.to(embeddings.device)
    return accuracy(method, embeddings, labels, batch_size)


@torch.no_grad()
def accuracy(method: Method, embeddings: Tensor, labels: Tensor, batch_size: int) -> float:
    """Fraction of [N, D] embeddings whose most probable class is their label [N]."""
    right = [
        (method.predict(e).argmax(1) == y).sum()
        for e, y in zip(embeddings.split(batch_size), labels.split(batch_size), strict=True)
    ]
    return float(torch.stack(right).sum()) / len(labels)


def recall_at_1(method: Method, embeddings: Tensor, split: Any, search: str) -> float:
    """Fraction of a split's queries whose nearest other gallery row [N, D] has the same label."""
    return recall_at((1,), method, embeddings, split, search)[0]


@torch.no_grad()
def recall_at(
    ks: Sequence[int], method: Method, embeddings: Tensor, split: Any, search: str
) -> list[float]:
    """Fractions of a split's queries with their label among the k nearest other gallery rows.

    Args:
        ks: each >= 1; more than there are candidates means all of them.
        method: whose geometry compares.
        embeddings: [N, D] of the split.
        split: with `labels` and, where not all rows do both, `is_query` and `is_gallery`.
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
    place = torch.full((len(rows),), -1, device=device)  # of every row within the gallery
    place[gallery] = torch.arange(len(gallery), device=device)
    neighbours, _ = nearest(
        rows[queries],
        rows[gallery],
        min(max(ks), len(gallery)),
        similarity=geometry.similarity,
        metric=geometry.faiss_metric,
        exclude=place[queries],
        backend=search,
    )
    labels = split.labels.to(device)
    found = neighbours.to(device)
    hits = (labels[gallery][found] == labels[queries][:, None]) & (found >= 0)
    return [int(hits[:, :k].any(1).sum()) / len(queries) for k in ks]
