"""Running statistics of batch normalisation that a second forward pass leaves as they are."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def kept_statistics(module: nn.Module) -> Iterator[None]:
    """Inside, forward passes in training mode use batch statistics; running ones stay unchanged.

    Args:
        module: a network or a part of it.
    """
    layers = [
        layer
        for layer in module.modules()
        if isinstance(layer, _BatchNorm) or getattr(layer, "running_mean", None) is not None
    ]
    buffers = [buffer for layer in layers for buffer in layer.buffers(recurse=False)]
    values = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, values, strict=True):
            # .data: a backward pass that needs the buffer must not take this for a change
            buffer.data.copy_(value)
