"""ArcFace: softmax on cosines, the angle to the own class enlarged by a margin.

Deng, Guo, Xue, Zafeiriou 2019, "ArcFace", equation 3, https://arxiv.org/abs/1801.07698.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from vmf_embeddings.criteria.base import VARIANTS, at_least, one_of
from vmf_embeddings.criteria.softmax import ClassMap

REFERENCE_RANGE = (1e-10, 1 - 1e-10)  # which published code clamps cosines to


def enlarged_angle(cosine: Tensor, margin: float) -> Tensor:
    """cos(theta + m); where theta + m is beyond pi, cos(theta) - m sin(m), which still falls.

    Args:
        cosine: cos(theta), any shape, in [-1, 1].
        margin: m in radians, [0, pi).

    Returns:
        The same shape.

    Example:
        >>> enlarged_angle(torch.tensor([0.0, -1.0]), math.pi / 6)
        tensor([-0.5000, -1.2618])
    """
    tiny = torch.finfo(cosine.dtype).eps
    sine = (1 - cosine.square()).clamp_min(tiny**2).sqrt()  # its slope at 1 would be infinite
    moved = cosine * math.cos(margin) - sine * math.sin(margin)
    falling = cosine - margin * math.sin(margin)
    return torch.where(cosine >= -math.cos(margin), moved, falling)


class ArcFace(ClassMap):
    """ArcFace; predictions are without its margin. `conf/criterion/arcface.yaml` has the knobs."""

    def __init__(
        self, angular_margin: float, scale: float, class_lr: float | None, variant: str
    ) -> None:
        super().__init__(class_lr)
        if not 0 <= angular_margin < math.pi:
            raise ValueError(
                f"criterion.params.angular_margin is in [0, pi) radians, got {angular_margin}."
            )
        at_least(0, above=True, scale=scale)
        one_of("variant", variant, VARIANTS)
        self.angular_margin, self.scale, self.variant = angular_margin, scale, variant

    def forward(
        self, embeddings: Tensor, labels: Tensor, triplets: None = None, **context: Any
    ) -> Tensor:
        """Unit embeddings [B, D], labels [B] -> scalar in nats."""
        cosine, column = self.cosines(embeddings), labels[:, None]
        if self.variant == "reference":
            cosine = cosine.clamp(*REFERENCE_RANGE)
            own = (cosine.gather(1, column).acos() + self.angular_margin).cos()
        else:
            own = enlarged_angle(cosine.gather(1, column), self.angular_margin)
        logits = self.scale * cosine.scatter(1, column, own)
        return nn.functional.cross_entropy(logits, labels)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Unit embeddings [B, D] -> scaled cosines [B, C]."""
        return self.scale * self.cosines(embeddings)
