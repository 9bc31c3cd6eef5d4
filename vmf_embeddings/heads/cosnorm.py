"""The cosine classifier whose logits increase with the norm of the feature, up to a bound.

Liu et al. 2019, "Large-Scale Long-Tailed Recognition in an Open World", https://arxiv.org/abs/1904.05160:
its classifier on squashed features, after Sabour et al. 2017, https://arxiv.org/abs/1710.09829.
"""

import torch
from torch import Tensor

from vmf_embeddings.heads.cosine import CosineHead


def squashed_cosines(embeddings: Tensor, class_weights: Tensor) -> Tensor:
    """Cosines times |f| / (1 + |f|).

    Args:
        embeddings: f [B, D].
        class_weights: [C, D], any norm.

    Returns:
        [B, C] in (-1, 1).

    Example:
        >>> squashed_cosines(torch.tensor([[0.0, 3.0]]), torch.eye(2))
        tensor([[0.0000, 0.7500]])
    """
    norms = torch.linalg.vector_norm(embeddings, dim=-1, keepdim=True)
    return embeddings / (1 + norms) @ torch.nn.functional.normalize(class_weights, dim=-1).T


class CosNormHead(CosineHead):
    """Logits s cos(f, w_k) |f| / (1 + |f|), without bias.

    Args:
        n_classes: C.
        dim: D.
        scale: s > 0; None = learned, as in `CosineHead`.
    """

    uses_norm = True

    def __init__(self, n_classes: int, dim: int, scale: float | None) -> None:
        super().__init__(n_classes, dim, bias=False, scale=scale)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> squashed cosines [B, C]."""
        return squashed_cosines(embeddings, self.weight)
