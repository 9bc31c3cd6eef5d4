"""SIREN: densities of classes with learned concentrations around moving class means.

Du, Gozum, Ming, Li 2022, "SIREN: Shaping Representations for Detecting Out-of-Distribution
Objects", NeurIPS, https://openreview.net/forum?id=8E8tgnYlmN. The normaliser is exact here.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from vmf_embeddings.criteria.affine_cross_entropy import affine_cross_entropy
from vmf_embeddings.criteria.base import Criterion, at_least, one_of, param_group
from vmf_embeddings.criteria.cider import UPDATES, moved_prototypes
from vmf_embeddings.directional import relative_log_normalizer


def class_log_densities(rows: Tensor, prototypes: Tensor, kappa: Tensor) -> Tensor:
    """Log densities of von Mises-Fisher distributions over the uniform one.

    Args:
        rows: of norm 1, [B, D].
        prototypes: mean directions, of norm 1, [C, D].
        kappa: concentrations >= 0, [C].

    Returns:
        kappa_c p_c . x + log C(kappa_c) - log C(0), [B, C] in nats.

    Example:
        >>> class_log_densities(torch.eye(3)[:1], torch.eye(3)[:2], torch.tensor([1.0, 10.0]))
        tensor([[ 0.8386, -7.0043]])
    """
    return kappa * (rows @ prototypes.T) + relative_log_normalizer(kappa, rows.shape[1])


class Siren(Criterion):
    """SIREN; `conf/criterion/siren.yaml` documents the parameters.

    The prototypes are buffers and move as those of CIDER do, without gradient; the concentrations
    learn, as their logarithms.
    """

    min_dim = 2
    not_on_prefixes = "its prototypes are moving averages of whole embeddings"
    moves_in_pass = 2  # of two over a batch: both start at the prototypes before it
    prototypes: Tensor
    log_kappa: Tensor

    def __init__(self, momentum: float, kappa: float, update: str, lr_factor: float) -> None:
        super().__init__()
        at_least(0, momentum=momentum, lr_factor=lr_factor)
        at_least(0, above=True, kappa=kappa)
        if momentum > 1:
            raise ValueError(f"criterion.params.momentum must be in [0, 1], got {momentum}.")
        one_of("update", update, UPDATES)
        self.momentum, self.update = momentum, update
        self.start, self.lr_factor = kappa, lr_factor
        self.frozen = False  # set during the first of two passes over a batch
        self.register_buffer("prototypes", None)
        self.register_parameter("log_kappa", None)

    def build(self, n_classes: int, dim: int, n_features: int | None = None) -> None:
        """Makes room for the prototypes [C, D]; all concentrations start alike [C]."""
        self.prototypes = torch.zeros(n_classes, dim)
        self.log_kappa = nn.Parameter(torch.full((n_classes,), math.log(self.start)))

    def forward(
        self, embeddings: Tensor, labels: Tensor, triplets: None = None, **context: Any
    ) -> Tensor:
        """Unit embeddings [B, D], labels [B] -> cross-entropy of the log densities, scalar."""
        kept = self.prototypes.to(embeddings.dtype)
        rows = embeddings.detach()
        moved = moved_prototypes(kept, rows, labels, self.momentum, self.update)
        if self.training and not self.frozen:
            self.prototypes.copy_(moved)
        kappa = self.log_kappa.exp()
        offsets = relative_log_normalizer(kappa, embeddings.shape[1])
        # the log densities of `class_log_densities`
        return affine_cross_entropy(embeddings, moved, kappa, offsets, labels)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Unit embeddings [B, D] -> log densities of the classes over the uniform one [B, C]."""
        return class_log_densities(
            embeddings, self.prototypes.to(embeddings), self.log_kappa.to(embeddings).exp()
        )

    @property
    def class_weights(self) -> Tensor:
        """The prototypes [C, D], of norm 1 or, before the first row of a class, 0."""
        return self.prototypes

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """One group: log concentrations, with `lr_factor` times the learning rate of the run."""
        return param_group(self.log_kappa, lr_factor=self.lr_factor)
