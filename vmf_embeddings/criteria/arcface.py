"""ArcFace: softmax on cosines, a margin added to the angle of the target class.

Deng, Guo, Xue, Zafeiriou 2019, "ArcFace", equation 3, https://arxiv.org/abs/1801.07698.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from vmf_embeddings.class_shard import ClassShard
from vmf_embeddings.criteria.angular_margin import add_angular_margin
from vmf_embeddings.criteria.base import VARIANTS, at_least, one_of
from vmf_embeddings.criteria.softmax import ClassVectorCriterion

REFERENCE_RANGE = (1e-10, 1 - 1e-10)  # published code clamps cosines to this range


class ArcFace(ClassVectorCriterion):
    """ArcFace; `logits` are without the margin.

    `conf/criterion/arcface.yaml` documents the parameters.
    """

    takes_shard = True

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
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: None = None,
        *,
        shard: ClassShard | None = None,
        **context: Any,
    ) -> Tensor:
        """Unit embeddings [B, D], labels [B] -> scalar in nats."""
        cosine = self.cosines(embeddings)
        if self.variant == "reference":
            cosine = cosine.clamp(*REFERENCE_RANGE)
        if shard is None:
            column = labels[:, None]
            logits = self.scale * cosine.scatter(1, column, self._shifted(cosine.gather(1, column)))
            return nn.functional.cross_entropy(logits, labels)
        is_own, rows = shard.own(labels)
        column = rows[:, None]
        target = cosine.gather(1, column)
        target = torch.where(is_own[:, None], self._shifted(target), target)
        return shard.cross_entropy(self.scale * cosine.scatter(1, column, target), labels)

    def _shifted(self, cosine: Tensor) -> Tensor:
        """Cosines with the target classes [B, 1] after the margin has been added to the angle."""
        if self.variant == "reference":
            return (cosine.acos() + self.angular_margin).cos()
        return add_angular_margin(cosine, self.angular_margin, monotone=self.monotone)[0]

    def logits(self, embeddings: Tensor) -> Tensor:
        """Unit embeddings [B, D] -> scaled cosines [B, C]."""
        return self.scale * self.cosines(embeddings)
