"""Proxy anchor: every proxy attracts its class and repels the others, hard examples most.

Kim, Kim, Cho, Kwak 2020, "Proxy Anchor Loss for Deep Metric Learning", equation 4,
https://arxiv.org/abs/2003.13911.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor

from vmf_embeddings.class_shard import ClassShard
from vmf_embeddings.criteria.base import (
    Criterion,
    at_least,
    factor_of_rate,
    init_proxies,
    one_of,
    param_group,
)
from vmf_embeddings.criteria.sums import log1p_sum_exp
from vmf_embeddings.geometry import cosines


def target_mask(labels: Tensor, n_classes: int, shard: ClassShard | None = None) -> Tensor:
    """Bool [B, C]: whether class c, counted from the first of a shard, is the label of row b."""
    first = 0 if shard is None else shard.classes.start
    return labels[:, None] == torch.arange(first, first + n_classes, device=labels.device)


def proxy_anchor(
    cosine: Tensor,
    labels: Tensor,
    *,
    alphas: tuple[float, float],
    deltas: tuple[float, float],
    average: str = "samples",
    shard: ClassShard | None = None,
) -> Tensor:
    """Proxy anchor loss, with one term of positives and one of negatives.

    Mean of log(1 + sum exp(-alpha (s - delta))) over positives, plus the mean of
    log(1 + sum exp(alpha (s - delta))) over negatives. The means are over proxies, the sums over
    the positives or negatives of a proxy in the batch.

    Args:
        cosine: of embeddings and proxies [B, C].
        labels: classes [B].
        alphas: scales of positives and negatives, > 0.
        deltas: offsets subtracted from the cosines of positives and negatives.
        average: of the positive term: "samples" = over the batch, so that a class is weighted by
            its number of rows, as in the code of NIR; "classes" = over the classes in the batch,
            as in the paper. Both are equal if all classes in the batch have equally many rows.
        shard: the classes of the cosines, where these are not all.

    Returns:
        Scalar.

    Example:
        >>> options = {"alphas": (32.0, 32.0), "deltas": (0.1, -0.1)}
        >>> proxy_anchor(torch.eye(2), torch.tensor([0, 1]), **options)  # log(1 + e^3.2)
        tensor(3.2400)
    """
    own = target_mask(labels, cosine.shape[1], shard)
    pull = log1p_sum_exp(-alphas[0] * (cosine - deltas[0]), own, dim=0)
    push = log1p_sum_exp(alphas[1] * (cosine - deltas[1]), ~own, dim=0)
    counts = own.sum(0)
    weights = counts if average == "samples" else (counts > 0).to(counts)
    if shard is None:
        return (weights * pull).sum() / weights.sum() + push.mean()
    n_pulled = shard.total(weights.sum())
    return shard.total((weights * pull).sum() / n_pulled + push.sum() / shard.n_classes)


class ProxyCriterion(Criterion):
    """Base of the criteria with one proxy per class, with their own learning rate.

    Args:
        lr_factor: learning rate of the proxies over that of the run, >= 0; "auto" = see
            `factor_of_rate`.
    """

    normalizes = True
    proxies: Tensor
    """[C, D], of any norm."""

    published_lr_factor: ClassVar[float] = 2000.0
    """What "auto" stands for at the published learning rate."""

    def __init__(self, lr_factor: float | str) -> None:
        super().__init__()
        self.lr_factor = lr_factor
        self.rate = factor_of_rate(
            lr_factor, self.published_lr_factor, "criterion.params.lr_factor"
        )
        self.register_parameter("proxies", None)

    def build(self, n_classes: int, dim: int, n_features: int | None = None) -> None:
        """Initialises the proxies [C, D]."""
        self.proxies = init_proxies(n_classes, dim)

    @property
    def class_weights(self) -> Tensor:
        """The proxies [C, D]."""
        return self.proxies

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """One group: the proxies, with `lr_factor` times the learning rate of the run."""
        return param_group(self.proxies, **self.rate)


class ProxyAnchor(ProxyCriterion):
    """Proxy anchor on cosines; `conf/criterion/proxy_anchor.yaml` documents the parameters."""

    takes_shard = True

    def __init__(
        self,
        pos_alpha: float,
        neg_alpha: float,
        pos_delta: float,
        neg_delta: float,
        average: str,
        lr_factor: float | str,
    ) -> None:
        super().__init__(lr_factor)
        at_least(0, above=True, pos_alpha=pos_alpha, neg_alpha=neg_alpha)
        one_of("average", average, ("samples", "classes"))
        self.alphas, self.deltas = (pos_alpha, neg_alpha), (pos_delta, neg_delta)
        self.average = average

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: None = None,
        *,
        shard: ClassShard | None = None,
        **context: Any,
    ) -> Tensor:
        """Embeddings [B, D] of any norm, labels [B] -> scalar."""
        return proxy_anchor(
            cosines(embeddings, self.proxies),
            labels,
            alphas=self.alphas,
            deltas=self.deltas,
            average=self.average,
            shard=shard,
        )

    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> alpha cos(x, p_c) [B, C]."""
        return self.alphas[0] * cosines(embeddings, self.proxies)
