"""The linear classifier: dot products with a bias."""

import torch
from torch import Tensor, nn

from vmf_embeddings.geometry import Euclidean
from vmf_embeddings.heads.base import Head, uniform_


class LinearHead(Head):
    """Logits w_k . f + b_k, initialised as `nn.Linear`.

    Args:
        n_classes: C.
        dim: D.
        bias: whether there is a b.
    """

    def __init__(self, n_classes: int, dim: int, bias: bool) -> None:
        super().__init__(n_classes, dim)
        self.weight = nn.Parameter(torch.empty(n_classes, dim))
        self.bias = nn.Parameter(torch.empty(n_classes)) if bias else None
        self.reset()

    def reset(self) -> None:
        """Weights and bias from U(-1/sqrt(D), 1/sqrt(D))."""
        for parameter in self.parameters():
            uniform_(parameter, self.dim)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> [B, C]."""
        return nn.functional.linear(embeddings, self.weight, self.bias)

    @property
    def geometry(self) -> Euclidean:
        """Embeddings are compared by their Euclidean distance."""
        return Euclidean()
