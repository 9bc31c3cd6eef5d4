"""Validation scores of rows that are divided among processes: none holds the rows of all.

Process r of W has rows r, r + W, … of a split. Scores are those of one process: counts are whole
numbers, and fractions where neighbours are tied are added up in the order of the rows.
"""

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor

from vmf_embeddings.class_shard import ClassShard
from vmf_embeddings.datasets.base import Split
from vmf_embeddings.methods.base import Method
from vmf_embeddings.search.exact import order_ties
from vmf_embeddings.training.divided_recall import divided_recalls
from vmf_embeddings.training.processes import gather_rows, gathered_blocks
from vmf_embeddings.training.seeding import generator_states, restore_generators
from vmf_embeddings.training.selection import MAP_AT_R, RECALL_AT_1, ValidationScores
from vmf_embeddings.training.validate import (
    hits_and_loss,
    map_at_r,
    mean_over_draws,
    recall_at,
    top_accuracies,
    top_hits,
)


def validation_scores(
    method: Method,
    embeddings: Tensor,
    split: Split,
    accelerator: Accelerator,
    *,
    metric_name: str,
    open_set: bool,
    batch_size: int,
    search: str,
) -> ValidationScores:
    """Metric and NLL of a held-out split, the same numbers in every process.

    Args:
        method: trained method.
        embeddings: of this process's rows of the split, from `embed_own_rows`.
        split: held-out split.
        accelerator: processes.
        metric_name: `accuracy`, `Recall@1` or `MAP@R`.
        open_set: whether its classes are unknown to the method.
        batch_size: embeddings per call of `Method.logits`.
        search: backend of the nearest-neighbour search, `auto`, `torch` or `faiss`.
    """
    rows, accuracy, nll = (method, embeddings, split, accelerator), 0.0, None
    if method.has_logits and not open_set:
        accuracy, nll = divided_accuracy_and_nll(*rows, batch_size)
    if metric_name == RECALL_AT_1:
        return ValidationScores(divided_recall_at((1,), *rows, search)[0], nll)
    if metric_name == MAP_AT_R:
        return ValidationScores(_divided_map_at_r(*rows), nll)
    return ValidationScores(accuracy, nll)


def _divided_map_at_r(method: Method, own: Tensor, split: Split, accelerator: Accelerator) -> float:
    """MAP@R of a whole split; every process collects the rows of all, since it ranks them all."""
    place = accelerator.process_index, accelerator.num_processes
    every = own if place[1] == 1 else gather_rows(own, *place, len(split.labels))
    return map_at_r(method, every, split)


@torch.no_grad()
def divided_accuracy_and_nll(
    method: Method, own: Tensor, split: Split, accelerator: Accelerator, batch_size: int
) -> tuple[float, float]:
    """Accuracy, a fraction, and NLL, nats, of a whole split, by one pass over its logits.

    Arguments are those of `divided_accuracies`; what is sent between processes is as there.
    """
    labels = split.labels.to(own.device)
    rank, world = accelerator.process_index, accelerator.num_processes
    is_divided = method.class_shard is not None
    if world == 1:
        sums = hits_and_loss(method, own, labels, batch_size)
    elif is_divided or _predictions_draw(method, own, accelerator):
        blocks = gathered_blocks(own, rank, world, len(labels), batch_size)
        parts = zip(blocks, labels.split(world * batch_size), strict=True)
        of_block = _hits_and_loss_over_shards if is_divided else hits_and_loss
        sums = sum(of_block(method, e, y, batch_size) for e, y in parts)
    else:
        sums = hits_and_loss(method, own, labels[rank::world], batch_size)
        dist.all_reduce(sums)
    accuracy, nll = (sums / len(labels)).tolist()
    return accuracy, math.inf if math.isnan(nll) else nll


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
        log_sums = shard.combined(logits.logsumexp(-1)) if logits.ndim == 3 else None
        total += _hits_of_shards(ks, shard, logits, log_sums, y)
    return total


def _hits_of_shards(
    ks: Sequence[int], shard: ClassShard, logits: Tensor, log_sums: Tensor | None, labels: Tensor
) -> Tensor:
    """Hits [len(ks)] by logits [B, C_r], or [B, S, C_r] with log sums [B, S] over all classes."""
    if logits.ndim == 3:
        logits = (logits - log_sums[..., None]).exp().mean(1)
    values, columns = logits.topk(min(ks[-1], logits.shape[1]), 1)
    best = values.new_full((len(labels), ks[-1]), -torch.inf)
    classes = columns.new_zeros(len(labels), ks[-1])
    best[:, : values.shape[1]] = values
    classes[:, : values.shape[1]] = columns + shard.classes.start
    every = order_ties(*(_side_by_side(part, shard.world) for part in (classes, best)))[0]
    hits = every[:, : ks[-1]] == labels[:, None]
    return torch.stack([hits[:, :k].any(1).sum() for k in ks])


def _hits_and_loss_over_shards(
    method: Method, embeddings: Tensor, labels: Tensor, batch_size: int
) -> Tensor:
    """As `hits_and_loss`, by logits of this process's classes."""
    shard, total = method.class_shard, torch.zeros(2, dtype=torch.float64)
    total = total.to(embeddings.device)
    for e, y in zip(embeddings.split(batch_size), labels.split(batch_size), strict=True):
        logits = method.logits(e)
        log_sums = shard.combined(logits.double().logsumexp(-1))
        total[0] += _hits_of_shards((1,), shard, logits, log_sums, y)[0]
        is_own, columns = shard.own(y)
        shape = (-1, *[1] * (logits.ndim - 1))
        index = columns.view(shape).expand(*logits.shape[:-1], 1)
        targets = logits.double().gather(-1, index).squeeze(-1)
        targets = torch.where(is_own.view(shape[:-1]), targets, 0.0)
        dist.all_reduce(targets)
        total[1] += mean_over_draws(targets - log_sums).sum()
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
