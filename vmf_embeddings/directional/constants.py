"""Numbers as tensors that stay on their device: not made again, or copied there, at every step."""

from functools import lru_cache

import torch
from torch import Tensor

Values = float | tuple[float, ...]


def constant(values: Values, like: Tensor) -> Tensor:
    """A tensor with the dtype and device of `like`; it may be shared and must not be written to.

    On the CPU, and under transforms of torch (compilation, `torch.func`), it is made anew.

    Args:
        values: one number, or a tuple of n.
        like: any tensor.

    Returns:
        [] or [n].

    >>> constant((0.5, 2.0), torch.zeros(3))
    tensor([0.5000, 2.0000])
    """
    if like.device.type == "cpu" or torch.compiler.is_compiling() or _is_transformed():
        return _made(values, like.dtype, like.device)
    return _kept(values, like.dtype, like.device)


def _is_transformed() -> bool:
    """Whether a transform of `torch.func` is at work, whose tensors end with it."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def _made(values: Values, dtype: torch.dtype, device: torch.device) -> Tensor:
    if isinstance(values, tuple):
        return torch.tensor(values, dtype=dtype, device=device)
    return torch.full((), values, dtype=dtype, device=device)


@lru_cache(maxsize=4096)
def _kept(values: Values, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # else it could not take part in training later
        return _made(values, dtype, device)
