"""Lets N processes compute what one would: start, global BatchNorm statistics, gathered rows."""

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


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


class GlobalBatchNorm(_BatchNorm):
    """Batch normalisation with the statistics of the global batch, on any device.

    torch's SyncBatchNorm does this on GPUs only, and expects equally many rows in every process.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected [B, channels, …], got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalises [B, channels, …] per channel; in evaluation mode by running statistics."""
        if not self.training:
            return super().forward(input)
        dims = [d for d in range(input.dim()) if d != 1]
        shape = [1, -1] + [1] * (input.dim() - 2)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        count = x.new_tensor([float(x.numel() // x.shape[1])])
        sums = _SumOverProcesses.apply(torch.cat([x.sum(dims), count]))
        mean, n = sums[:-1] / sums[-1], sums[-1]
        centred = x - mean.view(shape)
        variance = _SumOverProcesses.apply(centred.square().sum(dims)) / n
        self._track(mean.detach(), variance.detach() * n / (n - 1))
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (centred * scale.view(shape) + self.bias.view(shape)).to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        rate = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(unbiased_variance, rate)


def start(
    *, cpu: bool = False, precision: str = "no", find_unused_parameters: bool = False
) -> Accelerator:
    """Creates the Accelerator; joins the process group if torchrun started this process.

    Args:
        cpu: stay on the CPU even if a GPU is present.
        precision: `no` or `bf16`.
        find_unused_parameters: whether parameters may lack a gradient in some steps, as frozen
            ones do; then every step finds out for which gradients the processes must wait.
    """
    return Accelerator(
        # without cpu=True, Accelerate does not connect the processes of a machine without GPUs
        cpu=cpu or not torch.cuda.is_available(),
        mixed_precision=precision,
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=find_unused_parameters)
        ],
    )


def share_batch_statistics(module: nn.Module) -> None:
    """Makes every BatchNorm of `module` a `GlobalBatchNorm` in place; keys of its state stay."""
    for layer in module.modules():
        if isinstance(layer, _BatchNorm) and layer.affine and layer.track_running_stats:
            layer.__class__ = GlobalBatchNorm


def gather_rows(rows: Tensor, rank: int, world: int, n_total: int) -> Tensor:
    """Gathers rows that were computed by several processes.

    Args:
        rows: [n, …] of this process, for the indices rank, rank + world, ….
        rank: this process, in 0..world-1.
        world: number of processes.
        n_total: number of rows of all processes together.

    Returns:
        [n_total, …] in every process, in the order of the indices, without gradient.
    """
    if world == 1:
        return rows
    longest = -(-n_total // world)
    padded = rows.new_zeros((longest, *rows.shape[1:]))
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(parts, padded)
    return torch.stack(parts, dim=1).flatten(0, 1)[:n_total]
