"""Fraction of the gradient with respect to the embeddings that is due to one of two loss terms."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import register_multi_grad_hook


class FlowGradientFraction:
    """Mean over batches of |g1| / (|g1| + |g2|), with the gradients of two loss terms.

    It hooks into the backward pass of the training step. The device is not synchronised before
    `mean` is called. It is not part of a state dict.

    Example:
        >>> fraction = FlowGradientFraction()
        >>> x = torch.ones(2, 3, requires_grad=True)
        >>> first, second = fraction.branch(x)
        >>> (3 * first.sum() + second.sum()).backward()
        >>> fraction.mean()
        0.75
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Starts the mean over."""
        self._sum: Tensor | None = None
        self._count = 0

    def branch(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Two views of the embeddings [B, D], one for each term, whose gradients are recorded."""
        if torch.compiler.is_compiling():  # a graph has no hook that adds to what is kept here
            return torch.compiler.disable(self._branch)(embeddings)
        return self._branch(embeddings)

    def _branch(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        branches = embeddings.view_as(embeddings), embeddings.view_as(embeddings)
        if embeddings.requires_grad and torch.is_grad_enabled():
            register_multi_grad_hook(branches, self._record)
        return branches

    def mean(self) -> float | None:
        """The mean fraction since `reset`, in [0, 1]; None without any backward pass."""
        return None if self._sum is None else float(self._sum) / self._count

    def _record(self, gradients: Sequence[Tensor | None]) -> None:
        zero = torch.zeros(())
        first, second = (zero if g is None else g.detach().float().norm() for g in gradients)
        tiny = torch.finfo(torch.float32).tiny  # 0 if both are 0
        fraction = (first / (first + second).clamp(min=tiny)).double()
        self._sum = fraction if self._sum is None else self._sum + fraction
        self._count += 1
