"""SNR loss: triplets compared by the variance of the difference over that of the anchor.

Yuan, Deng, Tang, Tang, Chen 2019, "Signal-to-Noise Ratio: A Robust Distance Metric for Deep Metric
Learning", equations 4 and 7, https://arxiv.org/abs/1904.02616.
"""

from typing import Any

from torch import Tensor

from vmf_embeddings.criteria.base import Criterion, at_least
from vmf_embeddings.criteria.comparisons import distances, entries, triplets_of_batch
from vmf_embeddings.criteria.sums import masked, mean_of
from vmf_embeddings.miners.base import MaskedTriplets, Triplets


def noise_ratios(embeddings: Tensor, n_anchors: int | None = None) -> Tensor:
    """var(a - b) / var(a), variances over the coordinates of the embeddings.

    Args:
        embeddings: [B, D], D >= 2.
        n_anchors: A, the first rows are the anchors; None = all.

    Returns:
        [A, B], anchors a in rows, >= 0.

    Example:
        >>> import torch
        >>> noise_ratios(torch.tensor([[1.0, -1.0], [2.0, -2.0]]))
        tensor([[0.0000, 1.0000],
                [0.2500, 0.0000]])
    """
    centred = embeddings - embeddings.mean(-1, keepdim=True)
    signal = centred[:n_anchors].square().sum(-1, keepdim=True)
    # rows that are constant have variance 0
    return distances(centred, n_anchors).square() / signal.clamp_min(1e-12)


def snr(
    embeddings: Tensor,
    triplets: Triplets | MaskedTriplets,
    margin: float,
    reg_lambda: float,
    n_anchors: int | None = None,
) -> Tensor:
    """Mean of v_ap - v_an + m over the triplets where it is > 0, + lambda mean |sum_d a_d|.

    Args:
        embeddings: [B, D].
        triplets: [T] each, or masked.
        margin: m.
        reg_lambda: lambda, >= 0, weight of the penalty on sums of coordinates other than 0.
        n_anchors: see `noise_ratios`.

    Returns:
        Scalar.

    Example:
        >>> import torch
        >>> x, i = torch.tensor([[1.0, -1.0], [2.0, -2.0], [1.0, -1.5]]), torch.tensor
        >>> snr(x, Triplets(i([0]), i([1]), i([2])), 0.2, 0.0)
        tensor(1.1375)
    """
    ratios = noise_ratios(embeddings, n_anchors)
    anchor, positive, negative = triplets[:3]
    hinge = (entries(ratios, anchor, positive) - entries(ratios, anchor, negative) + margin).relu()
    hinge = masked(hinge, triplets.valid)
    loss = hinge.sum() / (hinge > 0).sum().clamp_min(1)
    penalty = mean_of(embeddings[anchor].sum(-1).abs(), triplets.valid)
    return loss + reg_lambda * penalty


class SNR(Criterion):
    """SNR loss over the triplets of a miner, or all of the batch.

    Args:
        margin: m, difference of the ratios, >= 0.
        reg_lambda: >= 0, see `snr`.
    """

    takes = "triplets"
    allowed_miners = None
    takes_masks = True
    takes_memory = True
    takes_all_triplets = True

    def __init__(self, margin: float, reg_lambda: float) -> None:
        super().__init__()
        at_least(0, margin=margin, reg_lambda=reg_lambda)
        self.margin, self.reg_lambda = margin, reg_lambda

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: Triplets | MaskedTriplets | None = None,
        *,
        n_anchors: int | None = None,
        **context: Any,
    ) -> Tensor:
        """Unit embeddings [B, D], labels [B] -> scalar."""
        triplets = triplets or triplets_of_batch(labels, n_anchors)
        return snr(embeddings, triplets, self.margin, self.reg_lambda, n_anchors)
