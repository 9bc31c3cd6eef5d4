"""Losses over some classes (`trainer.sampled_classes`): those of the batch, and drawn others.

With m of the n classes that the batch lacks, each drawn with the same probability m / n,

    E[sum_{j drawn} n/m exp(logit_j)] = sum_j exp(logit_j)

so log(n/m) is added to the logits of the drawn ones: the sum is unbiased, its log too small by
about half the sum's relative variance. Partial FC (An et al. 2022, https://arxiv.org/abs/2203.15565)
draws in the same way and adds nothing: its loss is too small by up to log(n/m), and the pull of the
drawn classes is too weak where the target's logit does not dominate.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from vmf_embeddings.class_shard import ClassShard


@dataclass(frozen=True)
class ClassSampling:
    """Draws, in every step, the classes that its loss uses.

    A process with n classes uses k = max(ceil(fraction n), 2 B) of them for a batch of B, or all if
    it has no more: those of the batch, and without replacement as many others as there is room for.
    k does not depend on the labels. Random numbers are those of torch's generator on the device,
    one for each of all classes, so that every process goes on with the same.

    Attributes:
        fraction: of its classes that a process uses, in (0, 1].
        corrected: whether drawn classes stand for all that the batch lacks; False = Partial FC.

    Raises:
        ValueError: the fraction is outside its range.

    Example:
        >>> shard = ClassShard(100, 0, 1)
        >>> step = ClassSampling(0.1)(shard, torch.tensor([3, 7, 7]))
        >>> len(step.columns), {3, 7} <= set(step.columns.tolist())
        (10, True)
        >>> step.log_weights.sort().values[[0, 1, 2, 9]]  # log(98 / 8)
        tensor([0.0000, 0.0000, 2.5055, 2.5055])
    """

    fraction: float
    corrected: bool = True

    def __post_init__(self) -> None:
        is_number = isinstance(self.fraction, float | int) and not isinstance(self.fraction, bool)
        if not is_number or not 0 < self.fraction <= 1:
            raise ValueError(
                f"trainer.sampled_classes is a fraction in (0, 1], or null; got {self.fraction!r}"
            )
        if self.corrected not in (True, False):
            raise ValueError(
                f"trainer.sampled_correction is one of true, false; got {self.corrected!r}"
            )

    @classmethod
    def from_config(cls, trainer: dict[str, Any]) -> Self | None:
        """That of the group `trainer` of a configuration; None where all classes are used."""
        fraction = trainer.get("sampled_classes")
        return None if fraction is None else cls(fraction, trainer["sampled_correction"])

    def n_used(self, n_own: int, n_rows: int) -> int:
        """Number k of classes that a process with `n_own` of them uses for a batch of `n_rows`."""
        return min(n_own, max(math.ceil(self.fraction * n_own), 2 * n_rows))

    def __call__(self, shard: ClassShard, labels: Tensor) -> ClassShard:
        """The shard of one step.

        Args:
            shard: the classes of this process.
            labels: of the whole batch [B].

        Returns:
            With `columns` [k] and, if corrected, `log_weights` [k] in float32; `shard` itself
            where every process uses all of its classes.
        """
        largest = -(-shard.n_classes // shard.world)
        if self.n_used(largest, len(labels)) == largest:
            return shard
        is_own, rows = shard.own(labels)
        n_own = shard.classes.stop - shard.classes.start
        order = torch.rand(shard.n_classes, device=labels.device)[shard.classes]
        order = torch.cat([order, order.new_zeros(1)])  # a place for labels of other processes
        order = order.index_fill(0, torch.where(is_own, rows, n_own), 2.0)[:n_own]
        columns = order.topk(self.n_used(n_own, len(labels))).indices.sort().values
        if not self.corrected:
            return replace(shard, columns=columns)
        of_batch = order[columns] == 2.0
        n_of_batch = of_batch.sum()
        log_weight = (n_own - n_of_batch).log() - (len(columns) - n_of_batch).log()
        log_weights = torch.where(of_batch, 0.0, log_weight)
        return replace(shard, columns=columns, log_weights=log_weights)
