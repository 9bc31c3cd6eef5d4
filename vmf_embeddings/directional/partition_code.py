"""Which code computes a block of the log partition: PyTorch, Numba on a CPU, Triton on a GPU."""

from collections.abc import Callable

import torch
from torch import Tensor

from vmf_embeddings import native
from vmf_embeddings.directional.difference import Kernel, compiles
from vmf_embeddings.directional.log_normalizer import normalizer_kernel
from vmf_embeddings.directional.partition_tile import Partition, TorchPartition


def partition_of(
    weights: Tensor, beta: Tensor, antithetic: bool, draw_weight: float, log_weights: Tensor | None
) -> Partition:
    """Compiled code where it may run and has this normaliser, else PyTorch.

    Args:
        weights: concentration times mean direction of the classes [C, D].
        beta: inverse temperature, [].
        antithetic: see `LogPartitionSum`.
        draw_weight: see there.
        log_weights: added to the logits of the classes [C]; None = nothing.
    """
    kernel, device = normalizer_kernel(weights.shape[-1], weights.dtype), weights.device.type
    kind: Callable[..., Partition] = TorchPartition
    if compiles(kernel, weights):
        from vmf_embeddings.directional.kernels.partition_compiled import CompiledPartition

        kind = CompiledPartition
    elif weights.dtype == torch.float32 and device == "cuda" and _has_triton_code(kernel):
        from vmf_embeddings.directional.kernels.triton_partition import TritonPartition

        kind = TritonPartition
    return kind(weights, beta, kernel, antithetic, draw_weight, log_weights)


def _has_triton_code(kernel: Kernel) -> bool:
    return kernel.has_compiled_code and kernel.plan is not None and native.triton_enabled()
