"""Confidences that the logits of a row give, larger = surer.

Hendrycks & Gimpel 2017, https://arxiv.org/abs/1610.02136 (largest probability); Liu et al. 2020,
https://arxiv.org/abs/2010.03759 (energy, here with the sign by which larger is surer).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array

_BLOCK_ELEMENTS = 2**20  # of the logits that are in float64 at a time


def logit_confidences(logits: Array) -> dict[str, Tensor]:
    """Every confidence by name, float64 [N]; by blocks of rows, so that no copy of all is made.

    `max_probability` max p, `negative_entropy` sum p log p, `probability_margin` the largest p
    minus the second, of probabilities that are means over draws; `max_logit` max z and `energy`
    log sum exp z, means over draws; with several draws `negative_information`, the mean entropy of
    a draw minus the entropy of the mean.

    Args:
        logits: [N, C], or [N, S, C] with S draws each; N, C >= 1.

    >>> logit_confidences([[0.0, 0.0]])["max_probability"]
    tensor([0.5000], dtype=torch.float64)
    """
    rows = torch.as_tensor(logits)
    if rows.ndim not in (2, 3) or rows.numel() == 0:
        raise ValueError(f"logits must be [N, C] or [N, S, C], not empty, got {list(rows.shape)}")
    found: dict[str, list[Tensor]] = {}
    for part in rows.split(max(1, _BLOCK_ELEMENTS // rows[0].numel())):
        draws = part.detach().double()
        for name, values in _of_draws(draws[:, None] if draws.ndim == 2 else draws):
            found.setdefault(name, []).append(values)
    return {name: torch.cat(values) for name, values in found.items()}


def _of_draws(logits: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Those of logits [n, S, C]."""
    largest, energy = logits.amax(2), logits.logsumexp(2)
    probability = (logits - energy[..., None]).exp_()
    mean = probability.mean(1)
    two = mean.topk(min(2, mean.shape[1]), 1).values
    entropy = torch.special.entr(mean).sum(1)
    yield "max_probability", two[:, 0]
    yield "negative_entropy", -entropy
    yield "probability_margin", two[:, 0] - two[:, -1]
    yield "max_logit", largest.mean(1)
    yield "energy", energy.mean(1)
    if logits.shape[1] > 1:
        yield "negative_information", torch.special.entr(probability).sum(2).mean(1) - entropy
