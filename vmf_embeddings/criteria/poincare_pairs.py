"""Cross-entropy of pairs by their distance in the Poincare ball (Hyp-ViT).

Ermolov, Mirvakhabova, Khrulkov, Sebe, Oseledets 2022, "Hyperbolic Vision Transformers: Combining
Improvements in Metric Learning", equations 5 and 6, https://arxiv.org/abs/2203.10833.
"""

from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.criteria.base import Criterion, at_least, one_of
from vmf_embeddings.criteria.comparisons import MOST_MASKED
from vmf_embeddings.criteria.sums import log_sum_exp, masked
from vmf_embeddings.geometry import Cosine, Poincare
from vmf_embeddings.miners.base import Triplets, others

PAIRS = ("all", "columns")
_TINY = 1e-30  # below it the square root has no gradient


def clip_norm(rows: Tensor, longest: float | None) -> Tensor:
    """Shortens rows [B, D] to norm `longest` > 0; None leaves them as they are.

    Example:
        >>> clip_norm(torch.tensor([[3.0, 4.0], [0.6, 0.8]]), 2.0)
        tensor([[1.2000, 1.6000],
                [0.6000, 0.8000]])
    """
    if longest is None:
        return rows
    norm = torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp_min(1e-12)
    return rows * (longest / norm).clamp_max(1)


def pair_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """log(1 + sum over rows n of other classes of exp(l_an - l_ap)) for every pair (a, p).

    Args:
        logits: l, minus distances over the temperature, [B, B]; or of the first A rows [A, B].
        labels: [B].

    Returns:
        [A, B], >= 0; only entries of two different rows of one class mean something.

    Example:
        >>> pair_losses(torch.zeros(3, 3), torch.tensor([0, 0, 1]))[0, 1]
        tensor(0.6931)
    """
    different = labels[: len(logits), None] != labels
    return torch.nn.functional.softplus(log_sum_exp(logits, different)[:, None] - logits)


def column_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """`pair_losses` as published: negatives have the number of a or of p within their class.

    A row's number counts the rows of its class before it in the batch. Needs [B, M, B] for M rows
    of the largest class.

    Args:
        logits: [B, B], see there.
        labels: [B].

    Example:
        >>> column_losses(torch.zeros(4, 4), torch.tensor([0, 0, 1, 1]))[0, 1]
        tensor(1.0986)
    """
    same = labels[:, None] == labels
    number = same.tril(-1).sum(1)
    few = labels.device.type != "cpu" and len(labels) ** 3 <= MOST_MASKED
    n_columns = len(labels) if few else 1 + int(number.max())
    of_column = number == torch.arange(n_columns, device=labels.device)[:, None]  # [M, B]
    negatives = of_column & ~same[:, None]  # [B, M, B]
    sums = log_sum_exp(logits[:, None].expand_as(negatives), negatives)
    own = sums.gather(1, number[:, None])
    total = torch.logaddexp(sums[:, number], own)  # of p's column and of a's
    return torch.nn.functional.softplus(total - logits)


class PoincarePairs(Criterion):
    """Every pair of one class against rows of other classes, by distance in the Poincare ball.

    Args:
        c: minus the curvature, >= 0; 0 = cosines of unit vectors instead of distances.
        temperature: divides the distances, > 0.
        clip_r: embeddings are shortened to this norm before the exponential map, also where they
            are stored; None = not.
        pairs: "all" = every row of another class is a negative; "columns" = as published, see
            `column_losses`. For the published loss, batches have equally many rows of each class.
        reduction: "mean" over the pairs, or "sum" over the ordered pairs of columns of the mean
            over classes, as published.
    """

    def __init__(
        self, c: float, temperature: float, clip_r: float | None, pairs: str, reduction: str
    ) -> None:
        super().__init__()
        at_least(0, c=c)
        at_least(0, above=True, temperature=temperature, clip_r=clip_r)
        one_of("pairs", pairs, PAIRS)
        one_of("reduction", reduction, ("mean", "sum"))
        self.c, self.temperature, self.clip_r = c, temperature, clip_r
        self.pairs, self.reduction = pairs, reduction
        self.geometry = Poincare(c) if c else Cosine()

    @property
    def takes_memory(self) -> bool:
        """Whether every row of another class is a negative: columns are of one batch."""
        return self.pairs == "all"

    def as_stored(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] clipped to `clip_r`; unchanged with c = 0."""
        return clip_norm(embeddings, self.clip_r if self.c else None)

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: Triplets | None = None,
        *,
        n_anchors: int | None = None,
        **context: Any,
    ) -> Tensor:
        """Embeddings [B, D] in the tangent space at the origin, labels [B] -> scalar in nats."""
        logits = self._closeness(embeddings, n_anchors) / self.temperature
        of_pairs = pair_losses if self.pairs == "all" else column_losses
        same = labels[:n_anchors, None] == labels
        positive = others(same)
        total = masked(of_pairs(logits, labels), positive).sum()
        if self.reduction == "mean":
            return total / positive.sum().clamp_min(1)
        # one row of each class has number 0
        first = ~same.tril(-1).any(1)
        return total / first.sum()

    def _closeness(self, embeddings: Tensor, n_anchors: int | None) -> Tensor:
        """Minus the distances of anchors from all [A, B], or their cosines."""
        if not self.c:
            return embeddings[:n_anchors] @ embeddings.T
        # float64: one matrix product, whose rounding hides distances below 1e-8 only
        points = self.geometry.project(self.as_stored(embeddings).double())
        ratio = -self.geometry.similarity(points[:n_anchors], points)
        # d = arcosh(1 + 2 c r) / sqrt(c) = 2 arsinh(sqrt(c r)) / sqrt(c); no gradient at r = 0
        root = (self.c * ratio).clamp_min(_TINY).sqrt()
        return (root.asinh() * (-2 / self.c**0.5)).to(embeddings.dtype)
