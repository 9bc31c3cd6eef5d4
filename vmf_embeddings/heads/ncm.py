"""Nearest class mean classifier: no parameters are learned, it uses the means of the features.

Kang et al. 2020, "Decoupling Representation and Classifier for Long-Tailed Recognition", section 4,
https://arxiv.org/abs/1910.09217.
"""

import torch
from torch import Tensor

from vmf_embeddings.geometry import Cosine, Euclidean, Geometry
from vmf_embeddings.heads.base import Head, refuse_unusable_rows

FEATURES = ("un", "l2n", "cl2n")
DISTANCES = ("l2", "dot")


def class_means(embeddings: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Mean embedding of each class.

    Args:
        embeddings: [N, D].
        labels: [N] in 0..C-1.
        n_classes: C.

    Returns:
        [C, D].

    Raises:
        ValueError: a class has no row.

    Example:
        >>> class_means(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1]), 2)
        tensor([[2.],
                [5.]])
    """
    counts = torch.bincount(labels, minlength=n_classes)
    if not bool((counts > 0).all()):
        empty = (counts == 0).nonzero().flatten().tolist()
        raise ValueError(f"head=ncm needs an image of every class; classes {empty[:10]} have none.")
    sums = embeddings.new_zeros(n_classes, embeddings.shape[1]).index_add_(0, labels, embeddings)
    return sums / counts[:, None]


class NCMHead(Head):
    """Logits are minus the squared distances to the class means, or dot products with them.

    For a second stage, which calls `fit` with the embeddings of the training split.

    Args:
        n_classes: C.
        dim: D.
        features: "un" = unchanged, "l2n" = normalised, "cl2n" = mean of all training features
            subtracted, then normalised. The class means are not normalised again.
        distance: "l2" = minus the squared distance (without |f|^2), "dot" = dot product / D.
    """

    second_stage = "ncm"

    centroids: Tensor
    center: Tensor
    is_fitted: Tensor

    def __init__(self, n_classes: int, dim: int, features: str, distance: str) -> None:
        super().__init__(n_classes, dim)
        for name, value, known in (
            ("features", features, FEATURES),
            ("distance", distance, DISTANCES),
        ):
            if value not in known:
                raise ValueError(
                    f"head.params.{name} must be one of {', '.join(known)}, got {value!r}."
                )
        self.features, self.distance = features, distance
        self.bias = None
        self.register_buffer("centroids", torch.zeros(n_classes, dim))
        self.register_buffer("center", torch.zeros(dim))
        self.register_buffer("is_fitted", torch.zeros((), dtype=torch.bool))

    @property
    def weight(self) -> Tensor | None:
        """Class means [C, D]; None if they are means of centred features."""
        return None if self.features == "cl2n" else self.centroids

    @torch.no_grad()
    def fit(self, embeddings: Tensor, labels: Tensor) -> None:
        """Computes the means from the training split: embeddings [N, D], labels [N] in 0..C-1."""
        refuse_unusable_rows(embeddings)
        wide = embeddings.double()
        if self.features == "cl2n":
            self.center.copy_(wide.mean(0))
        self.centroids.copy_(class_means(self._features(wide), labels, self.n_classes))
        self.is_fitted.fill_(True)

    def reset(self) -> None:
        """Sets all means to 0, as before `fit`."""
        for buffer in self.buffers():
            buffer.zero_()

    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> logits [B, C]; needs `fit`."""
        if not self.is_fitted:
            raise ValueError(
                "head=ncm has no class means yet: it is for the second stage of a trained run, "
                "mode=ncm run=RUN_FOLDER."
            )
        rows, centroids = self._features(embeddings), self.centroids.to(embeddings)
        dots = rows @ centroids.T
        if self.distance == "dot":
            return dots / self.dim
        norms = rows.square().sum(-1)[:, None] + centroids.square().sum(-1)
        return 2 * dots - norms

    def _features(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D], centred and normalised as `features` asks."""
        if self.features == "un":
            return embeddings
        return torch.nn.functional.normalize(embeddings - self.center.to(embeddings), dim=-1)

    @property
    def geometry(self) -> Geometry:
        """Euclidean for unchanged features, otherwise cosine."""
        return Euclidean() if self.features == "un" else Cosine()
