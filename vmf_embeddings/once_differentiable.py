"""Marks gradients that have no derivative of their own, so that asking for one is an error."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

Backward = Callable[..., Any]


def once_differentiable(backward: Backward) -> Backward:
    """Decorates the `backward` of a `torch.autograd.Function` that PyTorch cannot differentiate.

    `torch.autograd.function.once_differentiable` refuses only where the incoming gradient requires
    a gradient. That of a loss is 1 and requires none: a second derivative would silently lack what
    the gradient owes to the function's inputs. This one refuses `create_graph=True` altogether.

    Args:
        backward: called with the context and the incoming gradients.

    Returns:
        The same; a RuntimeError where the graph of the gradient is asked for.
    """

    @functools.wraps(backward)
    def wrapped(ctx: FunctionCtx, *grads: Tensor) -> Any:
        # with create_graph=True, and then alone, gradients are computed in grad mode
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            raise RuntimeError(
                "expected a backward pass without create_graph=True, got one with it: this loss "
                "has first derivatives alone; leave out create_graph=True"
            )
        return backward(ctx, *grads)

    return wrapped
