"""Computes losses and logits in float32 or float64 while the backbone runs in half precision."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")
_HALF = (torch.float16, torch.bfloat16)


def widen(value: Any) -> Any:
    """Half-precision tensors become float32; everything else is returned unchanged."""
    return value.float() if isinstance(value, Tensor) and value.dtype in _HALF else value


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Switches autocast off inside a function and widens half-precision arguments to float32.

    float64 stays float64. Keyword arguments are not changed.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        device = next((a.device.type for a in args if isinstance(a, Tensor)), "cpu")
        with torch.autocast(device, enabled=False):
            return function(*(widen(a) for a in args), **kwargs)

    return wrapper
