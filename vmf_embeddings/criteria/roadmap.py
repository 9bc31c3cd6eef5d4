"""ROADMAP: an average precision whose wrong order always has a gradient, plus a calibration term.

Ramzi, Thome, Rambour, Audebert, Bitot 2021, "Robust and Decomposable Average Precision for Image
Retrieval", equations 3 to 6, https://arxiv.org/abs/2110.01445.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.criteria.base import Criterion, at_least, one_of
from vmf_embeddings.criteria.soft_ranks import (
    Step,
    average_precision_loss,
    mean_over_queries,
    rankings,
    sigmoid_step,
)
from vmf_embeddings.miners.base import Triplets, others

POSITIVES = ("step", "soft")


def above_step(
    difference: Tensor, temperature: float, slope: float, offset: float, delta: float, start: float
) -> Tensor:
    """H of SupAP between a positive i and a negative j, of d = s_j - s_i: no smaller than the step.

    sigmoid(d / temperature) where d <= 0, start + sigmoid(d / temperature) where 0 < d <= delta,
    slope (d - delta) + offset where d > delta.

    Example:
        >>> above_step(torch.tensor([0.0, 0.01, 0.1]), 0.01, 100.0, 1.44, 0.05, 0.5)
        tensor([0.5000, 1.2311, 6.4400])
    """
    smooth = torch.sigmoid(difference / temperature)
    smooth = torch.where(difference > 0, smooth + start, smooth)
    return torch.where(difference > delta, slope * (difference - delta) + offset, smooth)


def unit_step(difference: Tensor) -> Tensor:
    """1 where the difference is >= 0, else 0; its gradient is 0.

    Example:
        >>> unit_step(torch.tensor([-1.0, 0.0, 2.0]))
        tensor([0., 1., 1.])
    """
    return (difference >= 0).to(difference)


def calibration(
    cosine: Tensor, labels: Tensor, pos_threshold: float, neg_threshold: float
) -> Tensor:
    """Mean of [pos_threshold - s] over positive pairs plus mean of [s - neg_threshold] over others.

    Both means are over the pairs whose term is above 0.

    Args:
        cosine: of all pairs of the batch [B, B], or of the first A rows with all [A, B].
        labels: [B].
        pos_threshold: cosine from which on a positive pair costs nothing.
        neg_threshold: cosine up to which a negative pair costs nothing.

    Returns:
        Scalar, >= 0.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]])
        >>> calibration(x @ x.T, torch.tensor([0, 0, 1]), 0.9, 0.6)
        tensor(0.5800)
    """
    same = labels[: len(cosine), None] == labels
    pull = (pos_threshold - cosine).relu().masked_fill(~others(same), 0)
    push = (cosine - neg_threshold).relu().masked_fill(same, 0)
    return sum(term.sum() / (term > 0).sum().clamp_min(1) for term in (pull, push))


class Roadmap(Criterion):
    """ROADMAP over all rows of the batch; `conf/criterion/roadmap.yaml` documents the parameters.

    With `calibration_weight` 0 it is SupAP alone.
    """

    takes_memory = True

    def __init__(
        self,
        temperature: float,
        slope: float,
        offset: float,
        delta: float,
        start: float,
        positives: str,
        count_query: bool,
        calibration_weight: float,
        pos_threshold: float,
        neg_threshold: float,
    ) -> None:
        super().__init__()
        at_least(0, above=True, temperature=temperature)
        at_least(0, slope=slope, delta=delta, calibration_weight=calibration_weight)
        one_of("positives", positives, POSITIVES)
        shape = {"slope": slope, "offset": offset, "delta": delta, "start": start}
        self.among_others: Step = partial(above_step, temperature=temperature, **shape)
        self.among_positives = unit_step if positives == "step" else sigmoid_step(temperature)
        self.count_query = count_query
        self.calibration_weight = calibration_weight
        self.thresholds = pos_threshold, neg_threshold

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: Triplets | None = None,
        *,
        n_anchors: int | None = None,
        **context: Any,
    ) -> Tensor:
        """Unit embeddings [B, D], labels [B] -> scalar."""
        cosine = embeddings[:n_anchors] @ embeddings.T
        lists = rankings(cosine, labels, query_is_positive=self.count_query)
        loss_of = partial(
            average_precision_loss,
            among_positives=self.among_positives,
            among_others=self.among_others,
        )
        loss = mean_over_queries(loss_of, lists)
        if not self.calibration_weight:
            return loss
        return loss + self.calibration_weight * calibration(cosine, labels, *self.thresholds)
