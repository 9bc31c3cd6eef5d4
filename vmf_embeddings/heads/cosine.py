"""The cosine classifier with a learned scale, and what heads on cosines share.

Kobayashi 2021, "T-vMF Similarity for Regularizing Intra-Class Feature Distribution", CVPR,
https://openaccess.thecvf.com/content/CVPR2021/html/Kobayashi_T-vMF_Similarity_for_Regularizing_Intra-Class_Feature_Distribution_CVPR_2021_paper.html;
its second stage for long-tailed data uses this head.
"""

import torch
from torch import Tensor, nn

from vmf_embeddings.geometry import Cosine, cosines
from vmf_embeddings.heads.base import Head, uniform_


def learned_scale(raw: Tensor) -> Tensor:
    """Scale of the logits, softplus(raw) + 1: never below 1.

    Args:
        raw: the learned number, any shape.

    Returns:
        The shape of `raw`, > 1; 1.6931 at the start, where `raw` is 0.

    Example:
        >>> learned_scale(torch.zeros(()))
        tensor(1.6931)
    """
    return nn.functional.softplus(raw) + 1


class CosineHead(Head):
    """Logits cos(f, w_k) + b_k under a scale, which is learned unless it is given.

    Args:
        n_classes: C.
        dim: D.
        bias: whether there is a b; it is added to the similarity, before the scale.
        scale: a number > 0, or None = softplus(s) + 1 with a learned s that starts at 0.
    """

    has_scale = True
    uses_norm = False

    raw_scale: Tensor | None
    fixed_scale: Tensor | None

    def __init__(self, n_classes: int, dim: int, bias: bool, scale: float | None) -> None:
        super().__init__(n_classes, dim)
        self.weight = nn.Parameter(torch.empty(n_classes, dim))
        self.bias = nn.Parameter(torch.empty(n_classes)) if bias else None
        self.raw_scale = nn.Parameter(torch.zeros(()))
        self.register_buffer("fixed_scale", None)
        if scale is not None:
            self.set_scale(scale)
        self.reset()

    def reset(self) -> None:
        """Draws weights from U(-1/sqrt(D), 1/sqrt(D)); the bias starts alike, the scale at 1.69."""
        uniform_(self.weight, self.dim)
        if self.bias is not None:
            uniform_(self.bias, self.dim)
        if self.raw_scale is not None:
            nn.init.zeros_(self.raw_scale)

    @property
    def scale(self) -> Tensor:
        """The scale, > 0, scalar."""
        return self.fixed_scale if self.raw_scale is None else learned_scale(self.raw_scale)

    def set_scale(self, scale: float) -> None:
        """Keeps the scale at a number from now on; it is no parameter then."""
        if not scale > 0:
            raise ValueError(f"head.params.scale must be > 0 or null (learned), got {scale}.")
        self.raw_scale = None
        self.fixed_scale = self.weight.new_tensor(float(scale))

    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> similarities [B, C], bias added."""
        similarities = self.similarity(cosines(embeddings, self.weight))
        return similarities if self.bias is None else similarities + self.bias

    def similarity(self, cosines: Tensor) -> Tensor:
        """What is made of the cosines [B, C]: here, nothing."""
        return cosines

    @property
    def geometry(self) -> Cosine:
        """Cosine of the embeddings."""
        return Cosine()
