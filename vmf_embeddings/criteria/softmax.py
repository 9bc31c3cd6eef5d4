"""Normalised softmax: cross-entropy of cosines with class weights, over a temperature.

Zhai, Wu 2019, "Classification is a Strong Baseline for Deep Metric Learning",
https://arxiv.org/abs/1811.12649.
"""

from typing import Any

import torch
from torch import Tensor, nn

from vmf_embeddings.class_shard import ClassShard
from vmf_embeddings.criteria.base import Criterion, at_least, param_group


class ClassVectorCriterion(Criterion):
    """Base of the criteria with class weights initialised as in a linear layer, U(-1, 1) / sqrt(D).

    Args:
        class_lr: learning rate of the class weights, >= 0; None = that of the run.
    """

    proxies: Tensor
    """Class weights [C, D], of any norm."""

    def __init__(self, class_lr: float | None) -> None:
        super().__init__()
        at_least(0, class_lr=class_lr)
        self.class_lr = class_lr
        self.register_parameter("proxies", None)

    def build(self, n_classes: int, dim: int, n_features: int | None = None) -> None:
        """Initialises the class weights [C, D]."""
        self.proxies = nn.Parameter((2 * torch.rand(n_classes, dim) - 1) / dim**0.5)

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Unit embeddings [B, D] -> cosines with the class weights [B, C]."""
        return embeddings @ nn.functional.normalize(self.proxies, dim=-1).T

    @property
    def class_weights(self) -> Tensor:
        """Class weights [C, D]."""
        return self.proxies

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """One group: the class weights, with their own learning rate `class_lr`."""
        return param_group(self.proxies, lr=self.class_lr)


class Softmax(ClassVectorCriterion):
    """Cross-entropy of cosines over a temperature.

    Args:
        temperature: > 0.
        class_lr: see `ClassVectorCriterion`.
    """

    takes_shard = True

    def __init__(self, temperature: float, class_lr: float | None) -> None:
        super().__init__(class_lr)
        at_least(0, above=True, temperature=temperature)
        self.temperature = temperature

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
        cross_entropy = nn.functional.cross_entropy if shard is None else shard.cross_entropy
        return cross_entropy(self.logits(embeddings), labels)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Unit embeddings [B, D] -> cosines over the temperature [B, C]."""
        return self.cosines(embeddings) / self.temperature
