"""MCInfoNCE: InfoNCE of draws from the distributions of embeddings.

Kirchhof, Kasneci, Oh 2023, "Probabilistic Contrastive Learning Recovers the Correct Aleatoric
Uncertainty of Ambiguous Inputs", equation 3, https://arxiv.org/abs/2302.02865.
"""

import math

import torch
from torch import Tensor, nn

from vmf_embeddings.criteria.base import at_least, one_of
from vmf_embeddings.criteria.distributions import DistributionCriterion, mean_of_rows
from vmf_embeddings.criteria.mean_sigmoid import log_mean_sigmoid
from vmf_embeddings.criteria.sums import FAR_BELOW
from vmf_embeddings.miners.base import others

ESTIMATORS = ("log_mean", "mean_outside")


def pair_losses(logits: Tensor, labels: Tensor, estimator: str = "log_mean") -> Tensor:
    """Loss of every pair (a, p) of one class, with rows n of other classes as negatives.

        -log 1/S sum_s exp(l_s,ap) / (exp(l_s,ap) + 1/N sum_n exp(l_s,an))

    Args:
        logits: l, cosines of draws over the temperature, [S, B, B]; or of the first A rows with
            all, [S, A, B].
        labels: [B].
        estimator: "log_mean" as above, or "mean_outside": the mean over draws of -log of the
            fraction, which is larger by Jensen's inequality, and an unbiased estimate for any S.

    Returns:
        [A, B], >= 0; only entries of two different rows of one class mean something. Differentiable
        once.

    Example:
        >>> pair_losses(torch.zeros(4, 3, 3), torch.tensor([0, 0, 1]))[0, 1]
        tensor(0.6931)
    """
    different = labels[: logits.shape[1], None] != labels
    counts = different.sum(-1).clamp_min(1).to(logits.dtype)
    # added to what is no negative: unlike a mask it takes no pass over the gradient
    hidden = torch.zeros_like(logits[0]).masked_fill_(~different, FAR_BELOW)
    negatives = (logits + hidden).logsumexp(-1) - counts.log()
    if logits.device.type != "cpu" or torch.compiler.is_compiling():
        return _losses(logits, negatives[..., None], estimator)
    # of few pairs, but how many depends on the labels
    anchors, positives = others(~different).nonzero(as_tuple=True)
    losses = _losses(logits[:, anchors, positives], negatives[:, anchors], estimator)
    return torch.zeros_like(logits[0]).index_put((anchors, positives), losses)


def _losses(logits: Tensor, negatives: Tensor, estimator: str) -> Tensor:
    """Losses [..] from logits l and negatives m [S, ..]: e^l / (e^l + e^m) = sigmoid(l - m)."""
    if estimator == "mean_outside":
        return nn.functional.softplus(negatives - logits).mean(0)
    return -log_mean_sigmoid(logits - negatives)


class MCInfoNCE(DistributionCriterion):
    """MCInfoNCE over all rows of the batch.

    Args:
        temperature: divides the cosines of draws, > 0.
        n_samples: draws of each row, >= 1.
        learn_temperature: whether the temperature is learned.
        estimator: "log_mean" or "mean_outside", see `pair_losses`.
        image_confidence: mean cosine with which the distributions start, in (0, 1).
        positives: "classes" or "views", see `DistributionCriterion`.
        views: see there.
    """

    log_temperature: Tensor

    def __init__(
        self,
        temperature: float,
        n_samples: int,
        learn_temperature: bool,
        estimator: str,
        image_confidence: float,
        positives: str = "classes",  # runs of version 1.0 do not name it
        views: int = 2,  # nor this
    ) -> None:
        super().__init__(n_samples, image_confidence, positives, views)
        at_least(0, above=True, temperature=temperature)
        one_of("estimator", estimator, ESTIMATORS)
        self.estimator = estimator
        log_temperature = torch.tensor(math.log(temperature))
        if learn_temperature:
            self.log_temperature = nn.Parameter(log_temperature)
        else:
            self.register_buffer("log_temperature", log_temperature)

    def loss_of_pairs(self, cosines: Tensor, labels: Tensor) -> Tensor:
        """Cosines of draws [S, A, B], labels [B] -> mean over rows of that over their positives."""
        logits = cosines * (-self.log_temperature).exp()
        losses = pair_losses(logits, labels, self.estimator)
        return mean_of_rows(losses, others(labels[: len(losses), None] == labels))
