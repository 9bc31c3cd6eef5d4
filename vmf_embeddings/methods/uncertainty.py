"""A trained method beside a network that was fitted afterwards to predict its loss on an image.

Kirchhof et al. 2023, "URL: A Representation Learning Benchmark for Transferable Uncertainty
Estimates", https://arxiv.org/abs/2307.03810, whose loss prediction leaves the backbone frozen.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.loss_predictor import CONFIDENCE, LossPredictor, inverse_loss
from vmf_embeddings.methods.precision import full_precision
from vmf_embeddings.methods.wrapping import WrappingMethod

_LEAST_STD = 1e-6  # of a coordinate; one that is constant stays near 0


class Uncertainty(WrappingMethod):
    """Embeddings and predictions of a trained method; the confidence is 1 / predicted loss.

    `mode=uncertainty` makes it; it is not trained from scratch.

    Args:
        arch: the backbone.
        objective: called with the backbone, returns the method.
        hidden: widths of the hidden layers of the network that predicts, each >= 1. It takes
            embeddings that are standardized by `embedding_mean` and `embedding_std` [D].
    """

    confidence_name = CONFIDENCE

    embedding_mean: Tensor
    embedding_std: Tensor

    def __init__(
        self, arch: Arch, objective: Callable[[Arch], Method], hidden: Sequence[int]
    ) -> None:
        own = objective(arch)
        super().__init__(arch, own)
        self.objective = own
        dim = arch.class_spec.embedding_dim
        self.predictor = LossPredictor(dim, hidden)
        self.register_buffer("embedding_mean", torch.zeros(dim))
        self.register_buffer("embedding_std", torch.ones(dim))

    @property
    def wrapped(self) -> Method:
        """The trained method."""
        return self.objective

    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The loss of the trained method, scalar."""
        return self.objective.loss(embeddings, labels)

    @torch.no_grad()
    def standardize(self, embeddings: Tensor) -> None:
        """Takes mean and standard deviation of the coordinates from embeddings [N, D]."""
        wide = embeddings.double()
        self.embedding_mean.copy_(wide.mean(0))
        self.embedding_std.copy_(wide.std(0, correction=0).clamp_min(_LEAST_STD))

    def predicted_loss(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> predicted -log p(class) [B] in nats, > 0."""
        return self.predictor((embeddings - self.embedding_mean) / self.embedding_std)

    @full_precision
    def confidence(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> one over the predicted loss [B]."""
        return inverse_loss(self.predicted_loss(embeddings))
