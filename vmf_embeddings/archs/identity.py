"""No network: the feature vectors of another model are the embeddings.

Only the method's own parameters learn, such as class weights and a temperature: a linear probe.
"""

from torch import nn

from vmf_embeddings.archs.base import Confidence
from vmf_embeddings.archs.vectors import VectorArch


class Identity(VectorArch):
    """Vectors [B, F] -> the same vectors [B, F], standardized if the data set asks for it.

    Args:
        in_features: see `VectorArch`, also for the others.
        embedding_dim: see there.
        n_classes: see there.
        use_vmf: see there.
        learn_temp: see there.
        init_temp: see there.
        kappa_confidence: see there.
        normalize: see there.

    Raises:
        ValueError: `embedding_dim` is neither None nor F.
    """

    def __init__(
        self,
        in_features: int | None,
        embedding_dim: int | None,
        n_classes: int | None,
        use_vmf: bool | None,
        learn_temp: bool,
        init_temp: float,
        kappa_confidence: Confidence,
        normalize: bool,
    ) -> None:
        super().__init__(
            in_features,
            embedding_dim,
            n_classes,
            use_vmf,
            learn_temp,
            init_temp,
            kappa_confidence,
            normalize,
            projection="none",
        )

    def embedding_layer(self) -> nn.Module:
        """Nothing: the features are the embeddings."""
        dim = self.class_spec.embedding_dim
        if dim != self.in_features:
            raise ValueError(
                f"arch=identity hands on its {self.in_features} features, got arch.params."
                f"embedding_dim={dim}: leave embedding_dim out, or use arch=linear or arch=mlp, "
                "which project to any dimension"
            )
        return nn.Identity()
