"""Classes divided among processes: each holds some rows of the class weights.

Process r of W owns the classes C r / W to C (r + 1) / W - 1. Every process has the embeddings of
the whole batch and computes the whole loss, but of its derivatives only the part that its classes
contribute: those with respect to its class weights are complete, those with respect to embeddings
and scales are summed over the processes.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


@dataclass(frozen=True)
class ClassShard:
    """The classes of one process, and sums over all of them.

    Attributes:
        n_classes: C of all processes together, >= world.
        rank: this process, in 0..world-1.
        world: number of processes.
    """

    n_classes: int
    rank: int
    world: int

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

    def own(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Which labels [B] are of this process's classes, bool [B], and their rows there [B].

        Rows of other labels are 0 or the last one, so that they may be used as an index.
        """
        first, end = self.classes.start, self.classes.stop
        rows = (labels - first).clamp(0, end - first - 1)
        return (labels >= first) & (labels < end), rows

    def sum_gradients(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The same tensors; their gradients are summed over the processes, in one message.

        For what every process has alike, such as embeddings and a temperature.
        """
        return _SumGradients.apply(*tensors)

    def total(self, value: Tensor) -> Tensor:
        """The sum of a tensor over the processes; each differentiates its own summand."""
        return _Total.apply(value)

    def log_sum(self, log_sums: Tensor) -> Tensor:
        """From log sums of exponentials over the own classes, any shape, to those over all classes.

        Each process differentiates its own part.
        """
        return _LogSum.apply(log_sums, self.world)

    def combined(self, log_sums: Tensor) -> Tensor:
        """`log_sum` in float64, without gradient."""
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
