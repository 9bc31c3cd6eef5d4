"""S2SD: self-distillation of similarities from higher-dimensional embeddings of the same features.

Roth, Milbich, Ommer, Cohen, Ghassemi 2021, "Simultaneous Similarity-based Self-Distillation for
Deep Metric Learning", equations 4 to 6, https://arxiv.org/abs/2009.08348.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from vmf_embeddings.criteria.base import Criterion, at_least
from vmf_embeddings.geometry import Cosine, unit_vectors
from vmf_embeddings.miners.base import MaskedTriplets, Triplets


def similarity_divergence(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T^2 / B times the sum over rows of KL(softmax(teacher / T) || softmax(student / T)).

    Args:
        teacher: cosines of all pairs [B, B], or of several teachers [K, B, B]; no gradient.
        student: cosines of all pairs [B, B].
        temperature: T > 0.

    Returns:
        In nats, >= 0 up to rounding: a scalar, or [K].

    Example:
        >>> similarity_divergence(torch.eye(2), torch.zeros(2, 2), 1.0)
        tensor(0.1109)
    """
    log_teacher = (teacher.detach() / temperature).log_softmax(-1)
    log_student = (student / temperature).log_softmax(-1)
    differences = log_teacher - log_student
    total = (log_teacher.exp_() * differences).sum((-2, -1))
    return temperature**2 / student.shape[-1] * total


def pairwise_cosines(rows: Tensor) -> Tensor:
    """Cosines [B, B] of all pairs of rows [B, D]."""
    unit = unit_vectors(rows)
    return unit @ unit.T


class S2SD(Criterion):
    """A criterion on the embeddings and on each auxiliary embedding, which are its teachers.

    Loss: (L_source + mean L_target) / 2 + w mean KL(target, embedding) + w_f KL(features,
    embedding), with the KL of `similarity_divergence`. Each auxiliary embedding is a two-layer
    network on the features; none is used after training.

    Args:
        source: criterion on the embeddings, or a mapping {"params": criterion}.
        target: criterion on the auxiliary embeddings, copied for each.
        target_dims: dimensions of the auxiliary embeddings.
        temperature: T > 0.
        weight: w >= 0, weight of the divergence from the auxiliary embeddings.
        feature_weight: w_f >= 0, weight of the divergence from the features.
        delay: training batches during which w_f is 0, >= 0.
    """

    needs_features = True
    moves_in_pass = 1  # of two over a batch: both see the same count
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
        self.frozen = False  # set during the second of two passes over a batch
        self.register_buffer("delayed", torch.zeros((), dtype=torch.long))

    @property
    def allowed_miners(self) -> tuple[str, ...] | None:
        """Miners that both criteria work with."""
        named = [c.allowed_miners for c in (self.source, self.targets[0])]
        named = [names for names in named if names is not None]
        return tuple(set.intersection(*map(set, named))) if named else None

    @property
    def takes_masks(self) -> bool:
        """Whether both criteria take `MaskedTriplets`."""
        return self.source.takes_masks and self.targets[0].takes_masks

    def build(self, n_classes: int, dim: int, n_features: int | None = None) -> None:
        """Builds both criteria, and the networks from features to the auxiliary embeddings.

        Raises:
            ValueError: `n_features` is None.
        """
        if n_features is None:
            raise ValueError(
                "criterion=s2sd needs the width of the features: an arch=… that has n_features"
            )
        self.source.build(n_classes, dim)
        for target, width in zip(self.targets, self.target_dims, strict=True):
            target.build(n_classes, width)
        self.networks = nn.ModuleList(_network(n_features, width) for width in self.target_dims)

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: Triplets | MaskedTriplets | None = None,
        *,
        features: Tensor | None = None,
        **context: Any,
    ) -> Tensor:
        """Unit embeddings [B, D], labels [B], features [B, F] -> scalar."""
        if features is None:
            raise ValueError(
                "criterion=s2sd needs features=[B, F], the input of the embedding layer."
            )
        wide = [unit_vectors(net(features)) for net in self.networks]
        losses = [t(x, labels, triplets) for t, x in zip(self.targets, wide, strict=True)]
        loss = (self.source(embeddings, labels, triplets) + sum(losses) / len(losses)) / 2
        teachers = [*wide, features] if self.feature_weight else wide
        with torch.no_grad():
            cosines = torch.stack([pairwise_cosines(x) for x in teachers])
        own = pairwise_cosines(embeddings)
        divergences = similarity_divergence(cosines, own, self.temperature)
        loss = loss + self.weight * divergences[: len(wide)].mean()
        if not self.feature_weight:
            return loss
        return loss + self.feature_weight * self._after_delay() * divergences[-1]

    def _after_delay(self) -> Tensor:
        """1 where `delay` training batches came before this one, else 0."""
        if self.training and not self.frozen:
            self.delayed += 1  # counts this one, as what comes after in the same batch sees it
        return (self.delayed > self.delay).float()

    def logits(self, embeddings: Tensor) -> Tensor | None:
        """Logits of the source criterion [B, C], or None."""
        return self.source.logits(embeddings)

    @property
    def has_logits(self) -> bool:
        """Whether the source criterion has logits."""
        return self.source.has_logits

    @property
    def class_weights(self) -> Tensor | None:
        """Class weights of the source criterion [C, D], or None."""
        return self.source.class_weights

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """The groups of all criteria; the networks use the learning rate of the backbone."""
        return [group for c in (self.source, *self.targets) for group in c.extra_param_groups()]


def _criterion(node: Criterion | dict[str, Any]) -> Criterion:
    return node if isinstance(node, Criterion) else node["params"]


def _network(n_features: int, width: int) -> nn.Module:
    layers = nn.Linear(n_features, width), nn.ReLU(), nn.Linear(width, width)
    return nn.Sequential(*layers)
