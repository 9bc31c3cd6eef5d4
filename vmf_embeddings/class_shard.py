"""Classes divided among processes: each holds some rows of the class weights.

Process r of W owns the classes C r / W to C (r + 1) / W - 1. Every process has the embeddings of
the whole batch and computes the whole loss, but of its derivatives only the part that its classes
contribute: those with respect to its class weights are complete, those with respect to embeddings
and scales are summed over the processes. A single process, which has all classes, sends nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx

from vmf_embeddings.once_differentiable import once_differentiable


@dataclass(frozen=True)
class ClassShard:
    """The classes of one process, and sums over all of them.

    Attributes:
        n_classes: C of all processes together, >= world.
        rank: this process, in 0..world-1.
        world: number of processes.
        sample: from this shard and the labels of a batch to the shard with the classes that a step
            uses; None = every step uses all.
        columns: of a step that uses some of the own classes only: these [k], ascending.
        log_weights: of such a step: the log of the number of classes that each stands for [k].
    """

    n_classes: int
    rank: int
    world: int
    sample: Callable[["ClassShard", Tensor], "ClassShard"] | None = None
    columns: Tensor | None = None
    log_weights: Tensor | None = None

    def first_of(self, rank: int) -> int:
        """The first class of a process; of `world`, C.

        >>> tuple(ClassShard(10, 0, 3).first_of(rank) for rank in range(4))
        (0, 3, 6, 10)
        """
        return self.n_classes * rank // self.world

    @property
    def classes(self) -> slice:
        """This process's classes."""
        return slice(self.first_of(self.rank), self.first_of(self.rank + 1))

    def of_step(self, labels: Tensor, rows: Tensor) -> tuple["ClassShard", Tensor]:
        """The shard and the class weights that the step of a batch uses.

        Args:
            labels: of the whole batch [B]; their classes are always used.
            rows: class weights of the own classes [C_r, D].

        Returns:
            Both as they are, or a shard with `columns` and their k rows [k, D].
        """
        step = self if self.sample is None else self.sample(self, labels)
        return step, rows if step.columns is None else rows.index_select(0, step.columns)

    def own(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Which labels [B] are of this process's classes, bool [B], and their rows there [B].

        Rows of other labels are any, so that they may be used as an index.
        """
        first, end = self.classes.start, self.classes.stop
        rows = (labels - first).clamp(0, end - first - 1)
        if self.columns is not None:
            rows = torch.searchsorted(self.columns, rows).clamp_max(len(self.columns) - 1)
        return (labels >= first) & (labels < end), rows

    def generator(self, device: torch.device) -> torch.Generator | None:
        """For random numbers of the own classes, other ones in every process; None = torch's own.

        Its seed is drawn on the CPU, where all processes must have the same random state.
        """
        if self.world == 1:
            return None
        seed = int(torch.randint(2**62, ())) + self.rank
        return torch.Generator(device).manual_seed(seed)

    def sum_gradients(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The same tensors; their gradients are summed over the processes, in one message.

        For what every process has alike, such as embeddings and a temperature.
        """
        return tensors if self.world == 1 else _SumGradients.apply(*tensors)

    def total(self, value: Tensor) -> Tensor:
        """The sum of a tensor over the processes; each differentiates its own summand."""
        return value if self.world == 1 else _Total.apply(value)

    def log_sum(self, log_sums: Tensor) -> Tensor:
        """From log sums of exponentials over the own classes, any shape, to those over all classes.

        Each process differentiates its own part.
        """
        return log_sums if self.world == 1 else _LogSum.apply(log_sums, self.world)

    def cross_entropy(
        self, logits: Tensor, labels: Tensor, log_sums: Tensor | None = None
    ) -> Tensor:
        """Mean cross-entropy over the classes of all processes.

        mean_b log sum_r sum_{j of r} exp(logit_bj) - mean_b logit_by, with the target's logit from
        the process that owns its class.

        Args:
            logits: of the own classes [B, C_r], or of those that a step uses [B, k].
            labels: classes [B] in 0..C-1.
            log_sums: log sums [B] over the own classes that count; None = over all of them.

        Returns:
            Scalar in nats, the same in every process; its gradient is that of the own logits.
        """
        if self.log_weights is not None:
            logits = logits + self.log_weights.to(logits)
        is_own, rows = self.own(labels)
        target = logits.gather(1, rows[:, None]).squeeze(1)
        own_targets = torch.where(is_own, target, 0.0).sum()
        log_sums = self.log_sum(logits.logsumexp(-1) if log_sums is None else log_sums)
        return log_sums.mean() - self.total(own_targets) / len(labels)

    def combined(self, log_sums: Tensor) -> Tensor:
        """`log_sum` in float64, without gradient."""
        if self.world == 1:
            return log_sums.detach().double()
        return _gathered(log_sums, self.world).logsumexp(0)


class _SumGradients(torch.autograd.Function):
    """Tensors unchanged; the backward pass sums their gradients over the processes."""

    @staticmethod
    def forward(ctx: FunctionCtx, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.like = [(t.shape, t.dtype) for t in tensors]
        return tuple(t.view_as(t) for t in tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, ...]:
        together = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(together)
        parts = together.split([shape.numel() for shape, _ in ctx.like])
        return tuple(
            part.view(shape).to(dtype) for part, (shape, dtype) in zip(parts, ctx.like, strict=True)
        )


class _Total(torch.autograd.Function):
    """The sum over the processes; the backward pass leaves gradients as they are."""

    @staticmethod
    def forward(ctx: FunctionCtx, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        return grad


class _LogSum(torch.autograd.Function):
    """log sum_r exp(l_r) over the processes r; its derivative in the own l is exp(l - result)."""

    @staticmethod
    def forward(ctx: FunctionCtx, log_sums: Tensor, world: int) -> Tensor:
        total = _gathered(log_sums, world).logsumexp(0)
        ctx.save_for_backward((log_sums - total).exp().to(log_sums.dtype))
        return total.to(log_sums.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        (fraction,) = ctx.saved_tensors
        return grad * fraction, None


def _gathered(log_sums: Tensor, world: int) -> Tensor:
    """The log sums of every process, float64 [world, …]."""
    own = log_sums.detach().double().contiguous()
    parts = [torch.empty_like(own) for _ in range(world)]
    dist.all_gather(parts, own)
    return torch.stack(parts)
