"""The t-vMF classifier: a heavy-tailed similarity in place of the cosine.

Kobayashi 2021, "T-vMF Similarity for Regularizing Intra-Class Feature Distribution", CVPR,
equation 6, https://openaccess.thecvf.com/content/CVPR2021/html/Kobayashi_T-vMF_Similarity_for_Regularizing_Intra-Class_Feature_Distribution_CVPR_2021_paper.html.
"""

import torch
from torch import Tensor

from vmf_embeddings.heads.cosine import CosineHead


def tvmf_similarity(cosine: Tensor, kappa: Tensor | float) -> Tensor:
    """The t-vMF similarity (1 + c) / (1 + kappa (1 - c)) - 1 of a cosine c.

    It is -1 at c = -1 and 1 at c = 1, equals c for kappa = 0, and increases with c only for
    kappa > -1/2. Its slope is 1 + 2 kappa at c = 1 and 1 / (1 + 2 kappa) at c = -1. It is computed
    as (c - kappa (1 - c)) / (1 + kappa (1 - c)), which avoids cancellation.

    Args:
        cosine: any shape, in [-1, 1].
        kappa: concentration, > -1/2; the larger, the faster the similarity falls with the angle.

    Returns:
        Shape of `cosine`, in [-1, 1].

    Example:
        >>> tvmf_similarity(torch.tensor([-1.0, 0.0, 0.9, 1.0]), 16.0)
        tensor([-1.0000, -0.9412, -0.2692,  1.0000])
    """
    decrease = kappa * (1 - cosine)
    return (cosine - decrease) / (1 + decrease)


class TVMFHead(CosineHead):
    """Logits s (t-vMF similarity of f and w_k + b_k).

    Args:
        n_classes: C.
        dim: D.
        kappa: concentration, > -0.5.
        bias: as in `CosineHead`.
        scale: as in `CosineHead`.
    """

    kappa: Tensor

    def __init__(
        self, n_classes: int, dim: int, kappa: float, bias: bool, scale: float | None
    ) -> None:
        if not kappa > -0.5:
            raise ValueError(
                f"head.params.kappa must be > -0.5, as the similarity must increase with the "
                f"cosine, got {kappa}."
            )
        super().__init__(n_classes, dim, bias, scale)
        self.register_buffer("kappa", torch.tensor(kappa, dtype=torch.float64))

    def similarity(self, cosines: Tensor) -> Tensor:
        """Cosines [B, C] -> t-vMF similarities [B, C]."""
        return tvmf_similarity(cosines, self.kappa)
