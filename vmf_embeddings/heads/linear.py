"""The linear classifier: dot products with a bias."""

import torch
from torch import Tensor, nn

from vmf_embeddings.directional import relative_log_normalizer
from vmf_embeddings.geometry import Cosine, Euclidean, Geometry, unit_vectors
from vmf_embeddings.heads.base import Head, refuse_one_dimension, uniform_


class LinearHead(Head):
    """Logits w_k . f + b_k, initialised as `nn.Linear`.

    Args:
        n_classes: C.
        dim: D.
        bias: whether there is a b.
        normalizer: whether f is normalised and log C(|w_k|) added, so that a logit is b_k plus the
            log density of a von Mises-Fisher distribution w_k = kappa_k mu_k over the uniform one.
    """

    def __init__(self, n_classes: int, dim: int, bias: bool, normalizer: bool = False) -> None:
        super().__init__(n_classes, dim)
        if normalizer:
            refuse_one_dimension(dim, "head.params.normalizer=true")
        self.normalizer, self.uses_norm = normalizer, not normalizer
        self.weight = nn.Parameter(torch.empty(n_classes, dim))
        self.bias = nn.Parameter(torch.empty(n_classes)) if bias else None
        self.reset()

    def reset(self) -> None:
        """Weights and bias from U(-1/sqrt(D), 1/sqrt(D))."""
        for parameter in self.parameters():
            uniform_(parameter, self.dim)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> [B, C]."""
        if not self.normalizer:
            return nn.functional.linear(embeddings, self.weight, self.bias)
        kappa = torch.linalg.vector_norm(self.weight, dim=1)
        logits = nn.functional.linear(unit_vectors(embeddings), self.weight, self.bias)
        return logits + relative_log_normalizer(kappa, self.dim)

    @property
    def geometry(self) -> Geometry:
        """Embeddings are compared by their Euclidean distance; densities, by their cosine."""
        return Cosine() if self.normalizer else Euclidean()
