"""S2SD: embeddings learn the similarities of wider spaces that are trained beside them.

Roth, Milbich, Ommer, Cohen, Ghassemi 2021, "Simultaneous Similarity-based Self-Distillation for
Deep Metric Learning", equations 4 to 6, https://arxiv.org/abs/2009.08348.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from vmf_embeddings.criteria.base import Criterion, at_least
from vmf_embeddings.geometry import Cosine
from vmf_embeddings.miners.base import Triplets


def similarity_divergence(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T^2 / B times the sum over rows of KL(softmax(teacher / T) || softmax(student / T)).

    Args:
        teacher: cosines of all pairs [B, B]; it is given no gradient.
        student: the same.
        temperature: T > 0.

    Returns:
        Scalar in nats, >= 0 up to rounding.

    Example:
        >>> similarity_divergence(torch.eye(2), torch.zeros(2, 2), 1.0)
        tensor(0.1109)
    """
    aims = (teacher.detach() / temperature).log_softmax(-1)
    reached = (student / temperature).log_softmax(-1)
    divergence = nn.functional.kl_div(reached, aims, log_target=True, reduction="sum")
    return temperature**2 / len(teacher) * divergence


def cosines_within(rows: Tensor) -> Tensor:
    """Cosines [B, B] of all pairs of rows [B, D]."""
    unit = nn.functional.normalize(rows, dim=-1)
    return unit @ unit.T


class S2SD(Criterion):
    """A criterion on the embeddings, another on each wider space, and the similarities of those.

    `conf/criterion/s2sd.yaml` explains each knob. The wider spaces are thrown away after training.

    Args:
        source: on the embeddings, or the node of an option of criterion= that holds it.
        target: the same for the wider spaces, copied for each.
        target_dims: their widths.
        temperature: T > 0.
        weight: >= 0, of the wider spaces' similarities.
        feature_weight: >= 0, of those of the features themselves.
        delay: batches before the features count, >= 0.
    """

    needs_features = True
    delayed: Tensor

    def __init__(
        self,
        source: Criterion | dict[str, Any],
        target: Criterion | dict[str, Any],
        target_dims: list[int],
        temperature: float,
        weight: float,
        feature_weight: float,
        delay: int,
    ) -> None:
        super().__init__()
        at_least(0, weight=weight, feature_weight=feature_weight, delay=delay)
        at_least(0, above=True, temperature=temperature)
        if not target_dims or min(target_dims) < 1:
            raise ValueError(
                f"criterion.params.target_dims: expected widths such as [1024,2048], got "
                f"{list(target_dims)}."
            )
        self.source, target = _criterion(source), _criterion(target)
        self.targets = nn.ModuleList(copy.deepcopy(target) for _ in target_dims)
        for each in (self.source, target):
            if each.needs_features or not isinstance(each.geometry, Cosine):
                raise ValueError(
                    f"criterion=s2sd compares by cosine, and criterion={each.name} does not: take "
                    "multisimilarity, margin, proxy_anchor or another that does"
                )
        self.target_dims, self.temperature = list(target_dims), temperature
        self.weight, self.feature_weight, self.delay = weight, feature_weight, delay
        self.register_buffer("delayed", torch.zeros((), dtype=torch.long))

    @property
    def allowed_miners(self) -> tuple[str, ...] | None:
        """Those of both criteria."""
        named = [c.allowed_miners for c in (self.source, self.targets[0])]
        named = [names for names in named if names is not None]
        return tuple(set.intersection(*map(set, named))) if named else None

    def build(self, n_classes: int, dim: int, n_features: int | None = None) -> None:
        """Builds both criteria, and the networks from features to the wider spaces.

        Raises:
            ValueError: nobody says how wide the features are.
        """
        if n_features is None:
            raise ValueError("criterion=s2sd needs a backbone that says its n_features: arch=…")
        self.source.build(n_classes, dim)
        for target, width in zip(self.targets, self.target_dims, strict=True):
            target.build(n_classes, width)
        self.networks = nn.ModuleList(_network(n_features, width) for width in self.target_dims)

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: Triplets | None = None,
        *,
        features: Tensor | None = None,
        **context: Any,
    ) -> Tensor:
        """Unit embeddings [B, D], labels [B], features [B, F] -> scalar."""
        if features is None:
            raise ValueError("criterion=s2sd needs features=[B, F], what enters the last layer.")
        wide = [nn.functional.normalize(net(features), dim=-1) for net in self.networks]
        losses = [t(x, labels, triplets) for t, x in zip(self.targets, wide, strict=True)]
        loss = (self.source(embeddings, labels, triplets) + sum(losses) / len(losses)) / 2
        own = cosines_within(embeddings)
        apart = [similarity_divergence(cosines_within(x), own, self.temperature) for x in wide]
        loss = loss + self.weight * sum(apart) / len(apart)
        if not self.feature_weight:
            return loss
        of_features = similarity_divergence(cosines_within(features), own, self.temperature)
        return loss + self.feature_weight * self._counted() * of_features

    def _counted(self) -> Tensor:
        """1 once `delay` training batches have passed, else 0."""
        begun = (self.delayed >= self.delay).float()
        if self.training:
            self.delayed += 1
        return begun

    def logits(self, embeddings: Tensor) -> Tensor | None:
        """The source's [B, C]."""
        return self.source.logits(embeddings)

    @property
    def has_logits(self) -> bool:
        """Whether the source has."""
        return self.source.has_logits

    @property
    def class_weights(self) -> Tensor | None:
        """The source's [C, D]."""
        return self.source.class_weights

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """Those of all criteria; the networks learn like the backbone."""
        return [group for c in (self.source, *self.targets) for group in c.extra_param_groups()]


def _criterion(node: Criterion | dict[str, Any]) -> Criterion:
    return node if isinstance(node, Criterion) else node["params"]


def _network(n_features: int, width: int) -> nn.Module:
    layers = nn.Linear(n_features, width), nn.ReLU(), nn.Linear(width, width)
    return nn.Sequential(*layers)
