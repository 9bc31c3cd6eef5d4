"""Log densities of von Mises-Fisher distributions whose concentrations are parameters of their own.

The classifier of Wang et al. 2022, https://arxiv.org/abs/2208.10043, with the exact normaliser. For
`LinearHead` and `CosineHead` with `normalizer` the concentration is the length of a class weight.
"""

import torch
from torch import Tensor, nn

from vmf_embeddings.directional import relative_log_normalizer
from vmf_embeddings.geometry import Cosine, unit_vectors
from vmf_embeddings.heads.base import Head, refuse_one_dimension, uniform_

LEAST_KAPPA = 1.0  # as published


class VMFHead(Head):
    """Logits kappa_k mu_k . x + log C(kappa_k) - log C(0) of embeddings x of norm 1.

    Concentrations below 1 count as 1; their gradient goes on, so that they can come back.

    Args:
        n_classes: C.
        dim: D >= 2.
        kappa_init: first concentration of all classes, >= 1.
    """

    normalizer = True
    uses_norm = False

    def __init__(self, n_classes: int, dim: int, kappa_init: float) -> None:
        super().__init__(n_classes, dim)
        refuse_one_dimension(dim, "a classifier of von Mises-Fisher densities")
        self.kappa_init = kappa_init
        self.weight = nn.Parameter(torch.empty(n_classes, dim))  # of any length; mu its direction
        self.raw_kappa = nn.Parameter(torch.empty(n_classes))
        self.bias = None
        self.reset()

    def reset(self) -> None:
        """Weights from U(-1/sqrt(D), 1/sqrt(D)), all concentrations `kappa_init`."""
        uniform_(self.weight, self.dim)
        nn.init.constant_(self.raw_kappa, self.kappa_init)

    def set_scale(self, scale: float) -> None:
        """Refuses: the logits are log densities, which have no bound."""
        raise ValueError(
            "this loss needs bounded logits, got log densities: take another loss, such as "
            "loss=logit_adjustment."
        )

    @property
    def kappa(self) -> Tensor:
        """Concentrations [C], >= 1."""
        raw = self.raw_kappa
        return raw + (raw.clamp_min(LEAST_KAPPA) - raw).detach()

    def distributions(self) -> Tensor:
        """Parameters kappa_k mu_k [C, D]."""
        return self.kappa[:, None] * unit_vectors(self.weight)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] of any length but 0 -> [B, C]."""
        logits = nn.functional.linear(unit_vectors(embeddings), self.distributions())
        return logits + relative_log_normalizer(self.kappa, self.dim)

    @property
    def geometry(self) -> Cosine:
        """Embeddings are compared by their cosine."""
        return Cosine()
