"""Matrix products of float32 in full float32 precision, whatever the program around asks for."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# torch's switches by library; `set_float32_matmul_precision` and `allow_tf32` set the same ones
_SWITCHES = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)


@contextmanager
def full_float32_products(device: torch.device) -> Iterator[None]:
    """Inside, products of float32 tensors round their factors and sums to 24 bits, not to fewer.

    TF32 has 11 bits and bfloat16 8. Both are chosen by settings of the whole program
    (`torch.set_float32_matmul_precision`, `allow_tf32`, `fp32_precision`) or by autocast, and
    would void bounds on the rounding error. The settings are restored afterwards; they are of the
    process, so that other threads see them change.

    Args:
        device: where the tensors are.
    """
    before = [switch.fp32_precision for switch in _SWITCHES]
    try:
        for switch in _SWITCHES:
            switch.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for switch, value in zip(_SWITCHES, before, strict=True):
            switch.fp32_precision = value
