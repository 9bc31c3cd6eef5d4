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
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from vmf_embeddings.untrusted.refused import Refused

RUNNING = ("running_mean", "running_var")


class _SumOverProcesses(torch.autograd.Function):
    """Sum over processes; the gradient of its input is the sum of the output gradients of all."""

    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        total = grad.contiguous().clone()
        dist.all_reduce(total)
        return total


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

    torch's `SyncBatchNorm` does this on GPUs only.

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
    dims = [d for d in range(input.dim()) if d != 1]
    shape = [1, -1] + [1] * (input.dim() - 2)
    x = input.to(torch.promote_types(input.dtype, torch.float32))
    count = x.new_tensor([float(x.numel() // x.shape[1])])
    sums = _SumOverProcesses.apply(torch.cat([x.sum(dims), count]))
    mean, n = sums[:-1] / sums[-1], sums[-1]
    centred = x - mean.view(shape)
    variance = _SumOverProcesses.apply(centred.square().sum(dims)) / n
    with torch.no_grad():
        _track(running_mean, mean, momentum)
        _track(running_var, variance * n / (n - 1), momentum)
    scale = torch.rsqrt(variance + eps)
    if weight is not None:
        scale = scale * weight
    normalised = centred * scale.view(shape)
    if bias is not None:
        normalised = normalised + bias.view(shape)
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
