"""ArcFace: softmax on cosines, a margin added to the angle of the target class.

Deng, Guo, Xue, Zafeiriou 2019, "ArcFace", equation 3, https://arxiv.org/abs/1801.07698.
"""

import math
from typing import Any

from torch import Tensor, nn

from vmf_embeddings.criteria.angular_margin import add_angular_margin
from vmf_embeddings.criteria.base import VARIANTS, at_least, one_of
from vmf_embeddings.criteria.softmax import ClassVectorCriterion

REFERENCE_RANGE = (1e-10, 1 - 1e-10)  # published code clamps cosines to this range


class ArcFace(ClassVectorCriterion):
    """ArcFace; `logits` are without the margin.

    `conf/criterion/arcface.yaml` documents the parameters.
    """

    def __init__(
        self,
        angular_margin: float,
        scale: float,
        class_lr: float | None,
        monotone: bool,
        variant: str,
    ) -> None:
        super().__init__(class_lr)
        if not 0 <= angular_margin < math.pi:
            raise ValueError(
                f"criterion.params.angular_margin is in [0, pi) radians, got {angular_margin}."
            )
        at_least(0, above=True, scale=scale)
        one_of("variant", variant, VARIANTS)
        self.angular_margin, self.scale = angular_margin, scale
        self.monotone, self.variant = monotone, variant

    def forward(
        self, embeddings: Tensor, labels: Tensor, triplets: None = None, **context: Any
    ) -> Tensor:
        """Unit embeddings [B, D], labels [B] -> scalar in nats."""
        cosine, column = self.cosines(embeddings), labels[:, None]
        if self.variant == "reference":
            cosine = cosine.clamp(*REFERENCE_RANGE)
            target = (cosine.gather(1, column).acos() + self.angular_margin).cos()
        else:
            target, _ = add_angular_margin(
                cosine.gather(1, column), self.angular_margin, monotone=self.monotone
            )
        logits = self.scale * cosine.scatter(1, column, target)
        return nn.functional.cross_entropy(logits, labels)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Unit embeddings [B, D] -> scaled cosines [B, C]."""
        return self.scale * self.cosines(embeddings)
