"""Softmax cross-entropy of dot products.

The STANDARD method of Scott, Gallagher, Mozer 2021, "von Mises-Fisher Loss", https://arxiv.org/abs/2103.15718.
"""

from torch import Tensor, nn

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.geometry import Euclidean
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.class_parameters import ClassParameters
from vmf_embeddings.methods.precision import full_precision


def dot_product_logits(embeddings: Tensor, class_weights: Tensor) -> Tensor:
    """Logits z . w, without bias and without temperature.

    Args:
        embeddings: [B, D].
        class_weights: [C, D].

    Returns:
        [B, C].

    Example:
        >>> import torch
        >>> dot_product_logits(torch.tensor([[1.0, 2.0]]), torch.eye(2))
        tensor([[1., 2.]])
    """
    return embeddings @ class_weights.T


class UnnormalizedSCE(Method):
    """Cross-entropy of dot-product logits; embeddings are points of Euclidean space."""

    logs_as_in_2021 = True
    takes_soft_labels = True

    def __init__(self, arch: Arch) -> None:
        super().__init__(arch)
        self.class_parameters = ClassParameters(
            arch.class_spec, arch.init_class_weights, has_temperature=False
        )

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels [B] or soft labels [B, C] -> mean cross-entropy in nats."""
        if self.class_shard is not None:
            shard, weights = self.class_shard.of_step(labels, self.class_parameters.weight)
            (embeddings,) = shard.sum_gradients(embeddings)
            return shard.cross_entropy(dot_product_logits(embeddings, weights), labels)
        return nn.functional.cross_entropy(self.logits(embeddings), labels)

    @full_precision
    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> logits [B, C]."""
        return dot_product_logits(embeddings, self.class_parameters.weight)

    @property
    def geometry(self) -> Euclidean:
        """Embeddings are compared by their Euclidean distance."""
        return Euclidean()

    @property
    def samples_classes(self) -> bool:
        """The loss can do with some of the classes."""
        return True

    def sharded_parameters(self) -> list[str]:
        """The class weights."""
        return ["class_parameters.weight"]
