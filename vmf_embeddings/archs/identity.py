"""No network: the feature vectors of another model are the embeddings.

Only the method's own parameters learn, such as class weights and a temperature: a linear probe.
"""

from torch import nn

from vmf_embeddings.archs.vectors import VectorArch


class Identity(VectorArch):
    """Vectors [B, F] -> the same vectors [B, F], standardized if the data set asks for it.

    Raises:
        ValueError: `embedding_dim` is neither None nor F.
    """

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
