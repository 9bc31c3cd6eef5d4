"""Batch normalisation by the statistics of the global batch, whatever else a layer does.

Libraries have batch normalisation layers of their own, such as timm's `BatchNormAct2d`, whose
forward pass also contains an activation. So a layer keeps its class's forward pass, and only the
function `torch.nn.functional.batch_norm` inside it is replaced.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional
from torch.nn.modules._functions import SyncBatchNorm as _SyncBatchNorm
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from vmf_embeddings.once_differentiable import once_differentiable
from vmf_embeddings.untrusted.refused import Refused

RUNNING = ("running_mean", "running_var")


class _BatchNormOverProcesses(torch.autograd.Function):
    """Batch normalisation by statistics of all processes: one sum over them in each direction.

    With x^ = (x - mean) / sqrt(variance + eps) and n values per channel in all processes,

        dx = weight / sqrt(variance + eps) (dy - sum dy / n - x^ sum dy x^ / n),

    where the sums run over the rows of all processes. Gradients of weight and bias are those of
    this process's rows, as of any other layer.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        momentum: float,
        eps: float,
    ) -> Tensor:
        mean, variance, n = _statistics(x)
        _track(running_mean, mean, momentum)
        _track(running_var, variance * n / (n - 1), momentum)
        mean, variance = mean.to(x.dtype), variance.to(x.dtype)
        ctx.save_for_backward(x, weight, mean, variance, n)
        ctx.eps = eps
        return functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, n = ctx.saved_tensors
        inverse = torch.rsqrt(variance + ctx.eps)
        # as for fixed statistics: dy weight / sqrt(variance + eps), sum dy x^, sum dy
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            *(grad.contiguous(), x, weight, mean, variance, None, None),
            *(False, ctx.eps, [True, True, True]),
        )
        sums = torch.stack([grad_weight, grad_bias]).double()
        dist.all_reduce(sums)
        scale = inverse if weight is None else inverse * weight
        of_product, of_grad = (sums / n).to(x.dtype) * scale
        shape = [1, -1] + [1] * (x.dim() - 2)
        slope = of_product * inverse
        grad_x.addcmul_(x, slope.view(shape), value=-1)
        grad_x.add_((slope * mean - of_grad).view(shape))
        needs_weight, needs_bias = ctx.needs_input_grad[3:5]
        return (
            *(grad_x, None, None, grad_weight if needs_weight else None),
            *(grad_bias if needs_bias else None, None, None),
        )


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance [channels] of the rows of all processes, and values per channel [].

    Float64: sums of squares would lose the variance in float32 where it is small beside the mean.
    """
    dims = [d for d in range(x.dim()) if d != 1]
    variance, mean = (t.double() for t in torch.var_mean(x, dims, correction=0))
    n = mean.new_tensor([float(x.numel() // x.shape[1])])
    sums = torch.cat([n * mean, n * (variance + mean.square()), n])
    dist.all_reduce(sums)
    n = sums[-1]
    mean, square = (sums[:-1] / n).view(2, -1)
    return mean, (square - mean.square()).clamp_min_(0), n


def global_batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm`, in training by the statistics of all processes' rows.

    On GPUs the arithmetic is that of torch's `SyncBatchNorm`, which has no other.

    Args:
        input: [n_r, channels, …], this process's rows; their number may differ among processes.
        running_mean: [channels], updated in place in training; None = not tracked.
        running_var: likewise; the variance that it tracks is unbiased.
        weight: [channels]; None = 1.
        bias: [channels]; None = 0.
        training: False = normalise by the running statistics.
        momentum: weight of this batch in the running statistics, in [0, 1].
        eps: added to the variance, > 0.

    Returns:
        Shape and dtype of `input`.
    """
    if not training:
        return functional.batch_norm(
            input, running_mean, running_var, weight, bias, False, momentum, eps
        )
    if input.is_cuda:  # torch's own, whose kernels are on GPUs only
        group = dist.group.WORLD
        return _SyncBatchNorm.apply(
            *(input, weight, bias, running_mean, running_var, eps, momentum),
            *(group, dist.get_world_size(group)),
        )
    x = input.to(torch.promote_types(input.dtype, torch.float32))
    normalised = _BatchNormOverProcesses.apply(
        x, running_mean, running_var, weight, bias, momentum, eps
    )
    return normalised.to(input.dtype)


def _track(running: Tensor | None, value: Tensor, momentum: float) -> None:
    if running is not None:
        running.lerp_(value.to(running.dtype), momentum)


class _GlobalStatistics(TorchFunctionMode):
    """Inside, `torch.nn.functional.batch_norm` is `global_batch_norm`.

    Attributes:
        is_used: whether the function was called inside.
    """

    is_used = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is functional.batch_norm:
            self.is_used = True
            func = global_batch_norm
        return func(*args, **(kwargs or {}))


@functools.cache
def _with_global_statistics(cls: type[nn.Module]) -> type[nn.Module]:
    """A subclass of a normalisation layer whose forward pass sees the global batch in training."""

    @torch.compiler.disable  # the compiled graph would not contain the sums over processes
    def in_training(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        before = _versions(self)
        with _GlobalStatistics() as mode:
            result = cls.forward(self, *args, **kwargs)
        if not mode.is_used and _versions(self) != before:
            raise Refused(
                f"{cls.__module__}.{cls.__qualname__} computes batch statistics in its own way, "
                "which several processes cannot share: train in one process, without torchrun"
            )
        return result

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        run = in_training if self.training else cls.forward
        return run(self, *args, **kwargs)

    names = {"forward": forward, "shares_statistics": True, "__module__": __name__}
    return type(cls.__name__, (cls,), names)


def _versions(layer: nn.Module) -> list[tuple[int, int]]:
    """What changes when the running statistics of a layer are changed or replaced."""
    found = (getattr(layer, name, None) for name in RUNNING)
    return [(id(x), x._version) for x in found if x is not None]


def share_batch_statistics(module: nn.Module) -> None:
    """Makes all batch normalisation in `module` use the global batch, in place.

    Each layer becomes an instance of a subclass of its class; its state and its keys stay.
    A layer that computes batch statistics by other means raises `Refused` in its first forward
    pass in training mode.
    """
    for layer in module.modules():
        has_statistics = any(getattr(layer, name, None) is not None for name in RUNNING)
        normalises = isinstance(layer, _BatchNorm) or has_statistics
        if normalises and not getattr(layer, "shares_statistics", False):
            layer.__class__ = _with_global_statistics(type(layer))
