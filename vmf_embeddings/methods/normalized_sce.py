"""Softmax cross-entropy on cosines divided by a temperature.

Wang, Xiang, Cheng, Yuille 2017, "NormFace", https://arxiv.org/abs/1704.06369; the COSINE method of
Scott et al. 2021, https://arxiv.org/abs/2103.15718.
"""

from torch import Tensor

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.geometry import Cosine, cosines
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.class_parameters import ClassParameters
from vmf_embeddings.methods.cosine_cross_entropy import cosine_cross_entropy
from vmf_embeddings.methods.precision import full_precision
from vmf_embeddings.methods.sharded_losses import sharded_cosine_cross_entropy


def cosine_logits(embeddings: Tensor, class_weights: Tensor, beta: Tensor) -> Tensor:
    """Logits beta cos(z, w).

    Args:
        embeddings: [B, D].
        class_weights: [C, D].
        beta: inverse temperature, > 0, scalar.

    Returns:
        [B, C] in [-beta, beta].

    Example:
        >>> import torch
        >>> cosine_logits(torch.tensor([[3.0, 4.0]]), torch.eye(2), torch.tensor(10.0))
        tensor([[6., 8.]])
    """
    return beta * cosines(embeddings, class_weights)


class NormalizedSCE(Method):
    """Cross-entropy of cosines over a temperature."""

    logs_as_in_2021 = True

    def __init__(self, arch: Arch) -> None:
        super().__init__(arch)
        self.class_parameters = ClassParameters(
            arch.class_spec, arch.init_class_weights, has_temperature=True
        )

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels [B] -> mean cross-entropy in nats, scalar."""
        arguments = (embeddings, self.class_parameters.weight, labels, self.class_parameters.beta)
        if self.class_shard is not None:
            return sharded_cosine_cross_entropy(self.class_shard, *arguments)
        return cosine_cross_entropy(*arguments)

    @full_precision
    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> logits [B, C]."""
        return cosine_logits(embeddings, self.class_parameters.weight, self.class_parameters.beta)

    @property
    def geometry(self) -> Cosine:
        """Embeddings are compared by their cosine."""
        return Cosine()

    @property
    def samples_classes(self) -> bool:
        """The loss can do with some of the classes."""
        return True

    def sharded_parameters(self) -> list[str]:
        """The class weights."""
        return ["class_parameters.weight"]
