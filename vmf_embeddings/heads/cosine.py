"""The cosine classifier with a learned scale, and the base of the other heads on cosines.

Kobayashi 2021, "T-vMF Similarity for Regularizing Intra-Class Feature Distribution", CVPR,
https://openaccess.thecvf.com/content/CVPR2021/html/Kobayashi_T-vMF_Similarity_for_Regularizing_Intra-Class_Feature_Distribution_CVPR_2021_paper.html;
its second stage for long-tailed data uses this head.
"""

import torch
from torch import Tensor, nn

from vmf_embeddings.directional import relative_log_normalizer
from vmf_embeddings.geometry import Cosine, cosines
from vmf_embeddings.heads.base import Head, refuse_one_dimension, uniform_


def learned_scale(raw: Tensor) -> Tensor:
    """Scale of the logits, softplus(raw) + 1: never below 1.

    Args:
        raw: the learned parameter, any shape.

    Returns:
        Shape of `raw`, > 1; 1.6931 for the initial value 0.

    Example:
        >>> learned_scale(torch.zeros(()))
        tensor(1.6931)
    """
    return nn.functional.softplus(raw) + 1


class CosineHead(Head):
    """Logits s (cos(f, w_k) + b_k); the scale s is learned unless it is given.

    Args:
        n_classes: C.
        dim: D.
        bias: whether there is a b.
        scale: s > 0, or None = softplus(a) + 1 with a learned a, initially 0.
        normalizer: whether cosines are multiplied by |w_k| and log C(s |w_k|) added to the logits,
            so that they are s b_k plus the log densities of von Mises-Fisher distributions of
            concentrations s |w_k| over the uniform one.
    """

    has_scale = True
    uses_norm = False

    raw_scale: Tensor | None
    fixed_scale: Tensor | None

    def __init__(
        self,
        n_classes: int,
        dim: int,
        bias: bool,
        scale: float | None,
        normalizer: bool = False,
    ) -> None:
        super().__init__(n_classes, dim)
        if normalizer:
            refuse_one_dimension(dim, "head.params.normalizer=true")
        self.normalizer = normalizer
        self.weight = nn.Parameter(torch.empty(n_classes, dim))
        self.bias = nn.Parameter(torch.empty(n_classes)) if bias else None
        self.raw_scale = nn.Parameter(torch.zeros(()))
        self.register_buffer("fixed_scale", None)
        if scale is not None:
            self._fix_scale(scale)
        self.reset()

    def reset(self) -> None:
        """Weights and bias from U(-1/sqrt(D), 1/sqrt(D)); a learned scale becomes 1.69."""
        uniform_(self.weight, self.dim)
        if self.bias is not None:
            uniform_(self.bias, self.dim)
        if self.raw_scale is not None:
            nn.init.zeros_(self.raw_scale)

    @property
    def scale(self) -> Tensor:
        """Scale of the logits, > 0, scalar."""
        return self.fixed_scale if self.raw_scale is None else learned_scale(self.raw_scale)

    def set_scale(self, scale: float) -> None:
        """Fixes the scale; it is not a parameter any more.

        Raises:
            ValueError: the logits are log densities, which have no bound.
        """
        if self.normalizer:
            raise ValueError(
                "this loss needs bounded logits: leave head.params.normalizer=false, or take "
                "another loss."
            )
        self._fix_scale(scale)

    def _fix_scale(self, scale: float) -> None:
        if not scale > 0:
            raise ValueError(f"head.params.scale must be > 0 or null (learned), got {scale}.")
        self.raw_scale = None
        self.fixed_scale = self.weight.new_tensor(float(scale))

    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> similarities plus bias [B, C], not scaled."""
        similarities = self.similarity(cosines(embeddings, self.weight))
        if self.normalizer:
            lengths = torch.linalg.vector_norm(self.weight, dim=1)
            peaks = relative_log_normalizer(self.scale * lengths, self.dim)
            similarities = lengths * similarities + peaks / self.scale
        return similarities if self.bias is None else similarities + self.bias

    def similarity(self, cosines: Tensor) -> Tensor:
        """Cosines [B, C] -> similarities [B, C]; the same here, subclasses may change them."""
        return cosines

    def largest_confidence(self, scale: float) -> float:
        """Probability of the right class where every image lies at the weight of its class.

        Class weights are then as far apart as C directions can be: a corner of a regular simplex
        has the cosine -1 / (C - 1) with each of the others. Cross-entropy has its least value there
        if classes are equally frequent, and the logits are scaled cosines without a bias.

        Args:
            scale: factor of the similarities, > 0.

        Returns:
            In (0, 1).

        Example:
            >>> head = CosineHead(n_classes=10, dim=16, bias=False, scale=None)
            >>> [round(head.largest_confidence(scale), 2) for scale in (1.69, 4.0, 16.0)]
            [0.42, 0.9, 1.0]
        """
        others = max(self.n_classes - 1, 1)
        right, wrong = self.similarity(torch.tensor([1.0, -1 / others], dtype=torch.float64))
        return float(1 / (1 + others * (scale * (wrong - right)).exp()))

    @property
    def geometry(self) -> Cosine:
        """Embeddings are compared by their cosine."""
        return Cosine()
