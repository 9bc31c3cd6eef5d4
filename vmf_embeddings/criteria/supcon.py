"""Supervised contrastive loss: every positive of an anchor against all other rows of the batch.

Khosla, Teterwak, Wang, Sarna, Tian, Isola, Maschinot, Liu, Krishnan 2020, "Supervised Contrastive
Learning", equation 2, https://arxiv.org/abs/2004.11362.
"""

from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.criteria.base import Criterion, at_least
from vmf_embeddings.criteria.sums import log_sum_exp, mean_of
from vmf_embeddings.miners.base import Triplets, others


def supcon(cosine: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Mean over positives p of log(sum over other rows n of exp((s_n - s_p) / temperature)).

    Args:
        cosine: of all pairs [B, B], or of the first A rows with all [A, B].
        labels: [B].
        temperature: > 0.

    Returns:
        Loss of each anchor [A]; 0 where a row has no positive.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
        >>> supcon(x @ x.T, torch.tensor([0, 0, 1]), 0.1)
        tensor([0.1269, 1.7839, 0.0000])
    """
    logits = cosine / temperature
    positives = others(labels[: len(cosine), None] == labels)
    total = log_sum_exp(logits, others(torch.ones_like(positives)))
    log_ratio = total[:, None] - logits
    count = positives.sum(1).clamp(min=1)
    return torch.where(positives, log_ratio, 0).sum(1) / count


class SupCon(Criterion):
    """Mean over the anchors that have a positive.

    Args:
        temperature: divides the cosines, > 0; smaller = more weight on the most similar rows.
    """

    takes_memory = True

    def __init__(self, temperature: float) -> None:
        super().__init__()
        at_least(0, above=True, temperature=temperature)
        self.temperature = temperature

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
        losses = supcon(embeddings[:n_anchors] @ embeddings.T, labels, self.temperature)
        return mean_of(losses, others(labels[:n_anchors, None] == labels).any(1))
