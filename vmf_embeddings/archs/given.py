"""No network: what comes in are embeddings already, as in `vmf_embeddings.objective`."""

from torch import Tensor, nn

from vmf_embeddings.archs.base import Arch, ClassSpec


class GivenEmbeddings(Arch):
    """Embeddings [B, D] -> the same embeddings [B, D].

    Args:
        class_spec: number of classes, D, and initialisation of the class parameters.
        n_features: F, width of the features that the embeddings were made from, for objectives
            that look at these too; None = D.
    """

    def __init__(self, class_spec: ClassSpec, n_features: int | None = None) -> None:
        super().__init__(class_spec)
        self.n_features = class_spec.embedding_dim if n_features is None else n_features
        self.projection = nn.Identity()

    def features(self, images: Tensor) -> Tensor:
        """The embeddings themselves, [B, D]."""
        return images
