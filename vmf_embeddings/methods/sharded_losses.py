"""Losses over classes that are divided among processes; values are those of all classes.

Cross-entropy needs one number per row of every process: the log sum of its exponentials. The von
Mises-Fisher bound needs one per draw, see `directional.sharded_bound`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from vmf_embeddings.class_shard import ClassShard
from vmf_embeddings.directional.sharded_bound import sharded_log_partition
from vmf_embeddings.geometry import VonMisesFisher, cosines

Shift = Callable[[Tensor], tuple[Tensor, Tensor]]


def sharded_cosine_cross_entropy(
    shard: ClassShard,
    embeddings: Tensor,
    class_weights: Tensor,
    labels: Tensor,
    beta: Tensor,
    shift: Shift | None = None,
) -> Tensor:
    """As `cosine_cross_entropy`, with the class weights [C_r, D] of this process.

    Args:
        shard: this process's classes.
        embeddings: of the whole batch [B, D].
        class_weights: of this process [C_r, D].
        labels: target classes [B], 0..C-1.
        beta: inverse temperature, > 0, scalar.
        shift: see `cosine_cross_entropy`.
    """
    shard, class_weights = shard.of_step(labels, class_weights)
    embeddings, beta = shard.sum_gradients(embeddings, beta)
    similarities = cosines(embeddings, class_weights)
    if shift is not None:
        is_own, rows = shard.own(labels)
        target = similarities.gather(1, rows[:, None])
        value, slope = (t.to(target.dtype) for t in shift(target.detach().double()))
        shifted = value + slope * (target - target.detach())
        replaced = torch.where(is_own[:, None], shifted, target)
        similarities = similarities.scatter(1, rows[:, None], replaced)
    return shard.cross_entropy(beta * similarities, labels)


def sharded_vmf_loss(
    shard: ClassShard,
    embeddings: Tensor,
    class_weights: Tensor,
    labels: Tensor,
    beta: Tensor,
    n_samples: int,
    estimator: str,
) -> Tensor:
    """As `directional.softmax_bound`, with the class weights [C_r, D] of this process.

    Args:
        shard: this process's classes.
        embeddings: kappa times mu of the images of the whole batch [B, D].
        class_weights: kappa times mu of the own classes [C_r, D].
        labels: class of every image [B], 0..C-1.
        beta: inverse temperature, > 0, scalar.
        n_samples: draws per image; all processes draw the same.
        estimator: "antithetic" or "iid".
    """
    shard, class_weights = shard.of_step(labels, class_weights)
    embeddings, beta = shard.sum_gradients(embeddings, beta)
    partition = sharded_log_partition(
        embeddings,
        class_weights,
        beta,
        n_samples,
        estimator=estimator,
        combine=shard.combined,
        log_weights=shard.log_weights,
    )
    is_own, rows = shard.own(labels)
    geometry = VonMisesFisher()
    means = geometry.project(embeddings) * geometry.project(class_weights[rows])
    aligned = torch.where(is_own, means.sum(-1), 0.0).sum()
    return partition - shard.total(beta * aligned) / len(labels)
