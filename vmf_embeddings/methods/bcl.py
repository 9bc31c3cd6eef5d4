"""BCL: a classifier beside a contrastive loss in which every class counts alike.

Zhu, Wang, Chen, Chen, Jiang 2022, "Balanced Contrastive Learning for Long-Tailed Visual
Recognition", CVPR, https://arxiv.org/abs/2207.09052.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.criteria.gram import gram
from vmf_embeddings.heads.base import Head
from vmf_embeddings.losses.base import Loss
from vmf_embeddings.methods.column_contrast import column_contrast
from vmf_embeddings.methods.contrast_branch import ContrastBranch, projection_mlp


def balanced_contrast(
    rows: Tensor, labels: Tensor, prototypes: Tensor, temperature: float
) -> Tensor:
    """Supervised contrastive loss with class averages in the denominator, one row more per class.

    For row i of class y, with s_ij = x_i . x_j / temperature and A(c) the rows and the prototype of
    class c without row i:

        -mean over p in A(y) of log(exp s_ip / sum over c of mean over k in A(c) of exp s_ik)

    Args:
        rows: of norm 1, [N, P].
        labels: classes [N].
        prototypes: of norm 1, [C, P], one for each class.
        temperature: > 0.

    Returns:
        Mean over the rows in nats, scalar; log C where all rows and prototypes are equal.

    Example:
        >>> rows, labels = torch.eye(2)[[0, 0, 0, 1]], torch.tensor([0, 0, 0, 1])
        >>> balanced_contrast(rows, labels, torch.eye(2), 1.0)
        tensor(0.3133)
    """
    classes = torch.cat([labels, torch.arange(len(prototypes), device=labels.device)])
    ones = torch.ones_like(classes, dtype=rows.dtype)
    counts = torch.zeros_like(prototypes[:, 0]).index_add(0, classes, ones)[classes]
    scaled = rows / temperature**0.5
    logits = torch.cat([gram(scaled), (rows / temperature) @ prototypes.T], 1)
    return column_contrast(logits, labels, classes, 0, counts=counts.detach())


class BCL(ContrastBranch):
    """Loss A + alpha B: A of a head on the embeddings, B the balanced contrast of projections.

    The prototypes in B are the class weights of the head after an MLP of their own, of the same
    form as the projection; the gradient of B reaches the class weights through them.

    Args:
        arch: the backbone.
        head: see `HeadAndLoss`; it must have class weights.
        loss: see `HeadAndLoss`.
        posthoc_tau: see `HeadAndLoss`.
        views: see `ContrastBranch`.
        temperature: of B, > 0.
        alpha: weight of B, >= 0.
        projection_dim: of the sphere, >= 2.
        projection_hidden: width of the layer before it, >= 1.
    """

    def __init__(
        self,
        arch: Arch,
        head: Callable[..., Head],
        loss: Loss,
        posthoc_tau: float,
        views: int,
        temperature: float,
        alpha: float,
        projection_dim: int,
        projection_hidden: int,
    ) -> None:
        super().__init__(
            *(arch, head, loss, posthoc_tau),
            views=views,
            temperature=temperature,
            alpha=alpha,
            projection_dim=projection_dim,
            projection_hidden=projection_hidden,
        )
        if self.classifier.weight is None:
            raise ValueError(
                f"method={self.name} makes prototypes of the class weights, and "
                f"head={self.classifier.name} has none; use head=cosine or linear."
            )
        if len(self.classifier.weight) < 2:
            raise ValueError(f"method={self.name} compares classes: expected at least two, got 1.")
        dim = arch.class_spec.embedding_dim
        self.weight_projection = projection_mlp(dim, projection_hidden, projection_dim)

    def prototypes(self) -> Tensor:
        """One point of the sphere for each class [C, P], from the class weights."""
        return normalize(self.weight_projection(self.classifier.weight), dim=1)

    def contrast(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """B over all views together: embeddings [B, V, D], labels [B] -> scalar in nats."""
        rows, each = self.projected(embeddings), labels.repeat(embeddings.shape[1])
        return balanced_contrast(rows, each, self.prototypes(), self.contrast_temperature)
