"""Which of two terms of a loss moves the embeddings, seen in the backward pass that runs anyway."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import register_multi_grad_hook


class FlowGradientFraction:
    """Mean over batches of |g1| / (|g1| + |g2|), g the gradients of two terms on the embeddings.

    Nothing waits for the device before `mean` is asked for. It is no part of a state.

    Example:
        >>> share = FlowGradientFraction()
        >>> x = torch.ones(2, 3, requires_grad=True)
        >>> first, second = share.branch(x)
        >>> (3 * first.sum() + second.sum()).backward()
        >>> share.mean()
        0.75
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets what it saw."""
        self._sum: Tensor | None = None
        self._count = 0

    def branch(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """The embeddings [B, D] twice: one for each term, watched while gradients come back."""
        branches = embeddings.view_as(embeddings), embeddings.view_as(embeddings)
        if embeddings.requires_grad and torch.is_grad_enabled():
            register_multi_grad_hook(branches, self._take)
        return branches

    def mean(self) -> float | None:
        """The mean share since `reset`, in [0, 1]; None where there was no gradient."""
        return None if self._sum is None else float(self._sum) / self._count

    def _take(self, gradients: Sequence[Tensor | None]) -> None:
        zero = torch.zeros(())
        first, second = (zero if g is None else g.detach().float().norm() for g in gradients)
        tiny = torch.finfo(torch.float32).tiny  # 0 where both are 0
        share = (first / (first + second).clamp(min=tiny)).double()
        self._sum = share if self._sum is None else self._sum + share
        self._count += 1
