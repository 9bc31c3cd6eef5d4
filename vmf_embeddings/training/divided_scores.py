"""Validation scores of rows that are divided among processes: none holds the rows of all.

Process r of W has rows r, r + W, … of a split. Scores are those of one process: counts are whole
numbers, and fractions where neighbours are tied are added up in the order of the rows.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor

from vmf_embeddings.datasets.base import Split
from vmf_embeddings.methods.base import Method
from vmf_embeddings.search.exact import order_ties
from vmf_embeddings.training.divided_recall import divided_recalls
from vmf_embeddings.training.processes import gathered_blocks
from vmf_embeddings.training.seeding import generator_states, restore_generators
from vmf_embeddings.training.validate import (
    RECALL_AT_1,
    metric_name,
    recall_at,
    top_accuracies,
    top_hits,
)


def validation_metric(
    method: Method,
    embeddings: Tensor,
    split: Split,
    accelerator: Accelerator,
    *,
    open_set: bool,
    batch_size: int,
    search: str,
) -> float:
    """The metric of `metric_name` on a held-out split, the same number in every process.

    Args:
        method: trained method.
        embeddings: of this process's rows of the split, from `embed_own_rows`.
        split: held-out split.
        accelerator: processes.
        open_set: whether its classes are unknown to the method.
        batch_size: embeddings per call of `Method.predict`.
        search: backend of the nearest-neighbour search, `auto`, `torch` or `faiss`.

    Returns:
        Fraction in [0, 1].
    """
    if metric_name(method, open_set=open_set) == RECALL_AT_1:
        return divided_recall_at((1,), method, embeddings, split, accelerator, search)[0]
    return divided_accuracies((1,), method, embeddings, split, accelerator, batch_size)[0]


@torch.no_grad()
def divided_accuracies(
    ks: Sequence[int],
    method: Method,
    own: Tensor,
    split: Split,
    accelerator: Accelerator,
    batch_size: int,
) -> list[float]:
    """`top_accuracies` of a whole split, from the embeddings [n, D] of this process's rows.

    Where predictions draw random numbers, every process predicts all rows, a block at a time, so
    that it draws what one process draws. Where classes are divided among the processes, each finds
    the most probable of its own for all rows, a block at a time; random numbers of a class are then
    drawn by its process, and the accuracy is that of one process in distribution.
    """
    labels = split.labels.to(own.device)
    rank, world = accelerator.process_index, accelerator.num_processes
    if world == 1:
        return top_accuracies(ks, method, own, labels, batch_size)
    is_divided = method.class_shard is not None
    if is_divided or _predictions_draw(method, own, accelerator):
        blocks = gathered_blocks(own, rank, world, len(labels), batch_size)
        parts = zip(blocks, labels.split(world * batch_size), strict=True)
        count = _hits_over_shards if is_divided else top_hits
        hits = sum(count(ks, method, e, y, batch_size) for e, y in parts)
    else:
        hits = top_hits(ks, method, own, labels[rank::world], batch_size)
        dist.all_reduce(hits)
    return (hits.double() / len(labels)).tolist()


def _hits_over_shards(
    ks: Sequence[int], method: Method, embeddings: Tensor, labels: Tensor, batch_size: int
) -> Tensor:
    """As `top_hits`, by logits of this process's classes: the best of all processes are merged.

    Of logits of samples [B, S, C_r], by the probabilities: means of exp(logit - log sum over all).
    """
    shard, total = method.class_shard, torch.zeros(len(ks), dtype=torch.int64)
    total = total.to(embeddings.device)
    for e, y in zip(embeddings.split(batch_size), labels.split(batch_size), strict=True):
        logits = method.logits(e)
        if logits.ndim == 3:
            log_sums = shard.combined(logits.logsumexp(-1))
            logits = (logits - log_sums[..., None]).exp().mean(1)
        values, columns = logits.topk(min(ks[-1], logits.shape[1]), 1)
        best = values.new_full((len(e), ks[-1]), -torch.inf)
        classes = columns.new_zeros(len(e), ks[-1])
        best[:, : values.shape[1]] = values
        classes[:, : values.shape[1]] = columns + shard.classes.start
        every = order_ties(*(_side_by_side(part, shard.world) for part in (classes, best)))[0]
        hits = every[:, : ks[-1]] == y[:, None]
        total += torch.stack([hits[:, :k].any(1).sum() for k in ks])
    return total


def _side_by_side(columns: Tensor, world: int) -> Tensor:
    """[B, k] of every process -> [B, world k]."""
    parts = [torch.empty_like(columns) for _ in range(world)]
    dist.all_gather(parts, columns)
    return torch.cat(parts, 1)


def _predictions_draw(method: Method, own: Tensor, accelerator: Accelerator) -> bool:
    """Whether `predict` draws random numbers; the generators stay as they are."""
    device = accelerator.device
    before = generator_states(device)
    if len(own):
        method.predict(own[:1])
    unchanged = all(map(torch.equal, before, generator_states(device)))
    restore_generators(device, before)
    drawn = torch.tensor(int(not unchanged), device=device)
    dist.all_reduce(drawn, dist.ReduceOp.MAX)  # a process without rows has predicted nothing
    return bool(drawn)


@torch.no_grad()
def divided_recall_at(
    ks: Sequence[int],
    method: Method,
    own: Tensor,
    split: Split,
    accelerator: Accelerator,
    search: str,
) -> list[float]:
    """`recall_at` of a whole split, from the embeddings [n, D] of this process's rows."""
    rank, world = accelerator.process_index, accelerator.num_processes
    if world == 1:
        return recall_at(ks, method, own, split, search)
    return divided_recalls(ks, method.geometry, own, split, (rank, world), search)
