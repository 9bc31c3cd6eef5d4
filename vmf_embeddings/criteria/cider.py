"""CIDER: rows near the prototype of their class, prototypes far from one another.

Ming, Sun, Dia, Li 2023, "How to Exploit Hyperspherical Embeddings for Out-of-Distribution
Detection?", equations 5 to 7, https://arxiv.org/abs/2203.04450.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from vmf_embeddings.criteria.base import Criterion, at_least, one_of
from vmf_embeddings.criteria.gram import gram
from vmf_embeddings.directional.unit import MIN_LENGTH

UPDATES = ("mean", "batch", "sequential")


def dispersion(prototypes: Tensor, temperature: float) -> Tensor:
    """Mean over classes i of log(mean over j != i of exp(p_i . p_j / temperature)).

    Args:
        prototypes: [C, D], of norm 1.
        temperature: > 0.

    Returns:
        Scalar, at least -1 / ((C - 1) temperature), which it is at the corners of a simplex; 0 for
        one class.

    Example:
        >>> dispersion(torch.eye(2), 0.1), dispersion(torch.tensor([[1.0], [-1.0]]), 0.1)
        (tensor(0.), tensor(-10.))
    """
    n_classes = len(prototypes)
    if n_classes < 2:
        return prototypes.sum() * 0
    itself = torch.eye(n_classes, dtype=torch.bool, device=prototypes.device)
    logits = (gram(prototypes) / temperature).masked_fill(itself, -torch.inf)
    return logits.logsumexp(1).mean() - math.log(n_classes - 1)


def moved_prototypes(
    prototypes: Tensor, rows: Tensor, labels: Tensor, momentum: float, update: str
) -> Tensor:
    """Exponential moving averages of the directions of the classes after one batch.

    With n rows v_1 .. v_n of a class and m the momentum, its prototype becomes the direction of

        m^n p + (1 - m^n) mean of v_k             "mean", whatever their order
        m^n p + (1 - m) sum of m^(n - k) v_k      "batch", in the order of the batch
        m p + (1 - m) v_1, then with v_2, …       "sequential", of norm 1 after every row

    Args:
        prototypes: p [C, D], of norm 1; 0 for a class that was not seen before.
        rows: of norm 1, [B, D].
        labels: classes [B].
        momentum: m in [0, 1]; 1 keeps the prototypes.
        update: see above.

    Returns:
        [C, D], with a gradient to the rows; those of classes without a row are unchanged.

    Example:
        >>> moved = moved_prototypes(torch.eye(2), torch.eye(2), torch.tensor([1, 1]), 0.5, "mean")
        >>> moved[1]
        tensor([0.5145, 0.8575])
    """
    if update == "sequential":
        return _one_by_one(prototypes, rows, labels, momentum)
    counts = rows.new_zeros(len(prototypes)).index_add(0, labels, rows.new_ones(len(labels)))
    kept = momentum**counts
    if update == "mean":
        weights = ((1 - kept) / counts.clamp_min(1))[labels]
    else:
        later = (labels[:, None] == labels).triu(1).sum(1)
        weights = (1 - momentum) * (momentum**later).to(rows)
    moved = (kept[:, None] * prototypes).index_add_(0, labels, weights[:, None] * rows)
    lengths = torch.linalg.vector_norm(moved, dim=1).clamp_min(MIN_LENGTH)
    lengths = lengths.where(counts > 0, 1)[:, None]  # without a row they have not moved
    return moved / lengths if moved.requires_grad else moved.div_(lengths)


def _one_by_one(prototypes: Tensor, rows: Tensor, labels: Tensor, momentum: float) -> Tensor:
    moved = list(prototypes.unbind())
    for row, label in zip(rows, labels.tolist(), strict=True):
        moved[label] = normalize(momentum * moved[label] + (1 - momentum) * row, dim=0)
    return torch.stack(moved)


class Cider(Criterion):
    """CIDER; `conf/criterion/cider.yaml` documents the parameters.

    The prototypes are buffers: a checkpoint has them, and evaluation mode leaves them as they are.
    A class has none until its first row, which becomes it.
    """

    prototypes: Tensor
    not_on_prefixes = "its prototypes are moving averages of whole embeddings"
    moves_in_pass = 2  # of two over a batch: both start at the prototypes before it

    def __init__(self, temperature: float, momentum: float, w: float, update: str) -> None:
        super().__init__()
        at_least(0, above=True, temperature=temperature)
        at_least(0, momentum=momentum, w=w)
        if momentum > 1:
            raise ValueError(f"criterion.params.momentum must be in [0, 1], got {momentum}.")
        one_of("update", update, UPDATES)
        self.temperature, self.momentum = temperature, momentum
        self.w, self.update = w, update
        self.frozen = False  # set during the first of two passes over a batch
        self.register_buffer("prototypes", None)

    def build(self, n_classes: int, dim: int, n_features: int | None = None) -> None:
        """Makes room for the prototypes [C, D]."""
        self.prototypes = torch.zeros(n_classes, dim)

    def forward(
        self, embeddings: Tensor, labels: Tensor, triplets: None = None, **context: Any
    ) -> Tensor:
        """Unit embeddings [B, D], labels [B] -> w compactness + dispersion, scalar."""
        kept = self.prototypes.to(embeddings.dtype)
        moved = moved_prototypes(kept, embeddings, labels, self.momentum, self.update)
        if self.training and not self.frozen:
            self.prototypes.copy_(moved.detach())
        compactness = cross_entropy(embeddings @ moved.detach().T / self.temperature, labels)
        return self.w * compactness + dispersion(moved, self.temperature)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Unit embeddings [B, D] -> cosines with the prototypes over the temperature [B, C]."""
        return embeddings @ self.prototypes.to(embeddings).T / self.temperature

    @property
    def class_weights(self) -> Tensor:
        """The prototypes [C, D], of norm 1 or, before the first row of a class, 0."""
        return self.prototypes
