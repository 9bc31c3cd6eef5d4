"""Base of criteria on pairs of draws from the von Mises-Fisher distributions of embeddings."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.criteria.base import Criterion, at_least, one_of
from vmf_embeddings.criteria.gram import gram
from vmf_embeddings.geometry import VonMisesFisher, kappa_mu

POSITIVES = ("classes", "views")


class DistributionCriterion(Criterion):
    """Embeddings kappa mu are distributions of what an image may show; pairs of draws are compared.

    Draw s of a row meets draw s of the other rows, so that memory grows with S B^2. The embeddings
    of a network are multiplied by `kappa_scale`, which training sets once before it begins.

    Args:
        n_samples: S, draws of each row, >= 1.
        image_confidence: mean cosine of a draw with its mean direction at the start, in (0, 1).
        positives: "classes": rows of the class of a row, with those of other classes as negatives;
            or "views": the other views of its image, with all other images as negatives, so that
            labels do not matter.
        views: of every image in a batch, >= 2, where these are the positives.
    """

    takes_memory = True
    min_dim = 2

    kappa_scale: Tensor
    geometry: VonMisesFisher = VonMisesFisher()

    def __init__(self, n_samples: int, image_confidence: float, positives: str, views: int) -> None:
        super().__init__()
        one_of("positives", positives, POSITIVES)
        if positives == "views":
            at_least(2, views=views)
            self.views = views
        at_least(1, n_samples=n_samples)
        if not 0 < image_confidence < 1:
            raise ValueError(
                f"criterion.params.image_confidence must lie in (0, 1), got {image_confidence}."
            )
        self.n_samples, self.image_confidence = n_samples, image_confidence
        self.register_buffer("kappa_scale", torch.ones(()))

    def as_stored(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] of a network -> kappa mu [B, D], coordinates of at most 1e15."""
        return kappa_mu(embeddings, self.kappa_scale)

    def cosines_of_draws(self, embeddings: Tensor, n_anchors: int | None = None) -> Tensor:
        """Distributions kappa mu [B, D] -> cosines of new draws of the first A with all [S, A, B].

        Args:
            embeddings: [B, D].
            n_anchors: A; None = B.
        """
        draws = self.geometry.sample(embeddings, self.n_samples, gradient=True)
        return gram(draws) if n_anchors is None else draws[:, :n_anchors] @ draws.mT

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: None = None,
        *,
        n_anchors: int | None = None,
        **context: Any,
    ) -> Tensor:
        """Distributions kappa mu [B, D], labels [B] -> mean loss in nats, scalar."""
        return self.loss_of_pairs(self.cosines_of_draws(embeddings, n_anchors), labels)

    @abstractmethod
    def loss_of_pairs(self, cosines: Tensor, labels: Tensor) -> Tensor:
        """Cosines of draws of the first A rows with all [S, A, B], labels [B] -> scalar in nats."""


def mean_of_rows(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over rows of the mean of a row's entries where the mask is true; rows without: none.

    Args:
        values: [A, B].
        mask: bool [A, B].

    Returns:
        Scalar; 0 with gradient 0 where the mask has no true entry.

    Example:
        >>> rows, mask = torch.tensor([[1.0, 3.0], [8.0, 9.0]]), torch.ones(2, 2).tril() > 0
        >>> mean_of_rows(rows, mask.flip(0))
        tensor(5.)
    """
    counts = mask.sum(-1)
    means = values.masked_fill(~mask, 0).sum(-1) / counts.clamp_min(1)
    return means.sum() / (counts > 0).sum().clamp_min(1)
