"""Learnable weight scaling: the classifier of a first stage, times a learned factor per class.

Kang et al. 2020, "Decoupling Representation and Classifier for Long-Tailed Recognition", section 4,
https://arxiv.org/abs/1910.09217.
"""

import torch
from torch import Tensor, nn

from vmf_embeddings.heads.linear import LinearHead


class LWSHead(LinearHead):
    """Logits s_k (w_k . f + b_k) with frozen w and b of another head; only s is learned.

    For a second stage, which sets w and b by `copy_weights_from`.

    Args:
        n_classes: C.
        dim: D.
        bias: whether there is a b.
    """

    second_stage = "lws"

    def __init__(self, n_classes: int, dim: int, bias: bool) -> None:
        super().__init__(n_classes, dim, bias)
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        self.scales = nn.Parameter(torch.ones(n_classes))

    def reset(self) -> None:
        """Initialises w and b as in `LinearHead`, the scales to 1."""
        super().reset()
        if "scales" in self._parameters:
            nn.init.ones_(self.scales)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> [B, C]."""
        return self.scales * super().logits(embeddings)
