"""Proxy anchor with sums over classes instead of over the batch.

The mode `nca` of the proxy objective in the code of NIR (Roth, Vinyals, Akata 2022,
https://arxiv.org/abs/2203.08547). It is not ProxyNCA, which is criterion=proxy_nca.
"""

from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.class_shard import ClassShard
from vmf_embeddings.criteria.proxy_anchor import ProxyAnchor, target_mask
from vmf_embeddings.criteria.sums import log1p_sum_exp, log_sum_exp
from vmf_embeddings.geometry import cosines


def proxy_anchor_nca(
    cosine: Tensor,
    labels: Tensor,
    *,
    alphas: tuple[float, float],
    deltas: tuple[float, float],
    shard: ClassShard | None = None,
) -> Tensor:
    """Mean of log(1 + n exp(-alpha (s_own - delta))) and of log(1 + sum exp(alpha (s - delta))).

    Means over rows; n is the number of rows of the same class, the row itself included.

    Args:
        cosine: of embeddings and proxies [B, C].
        labels: classes [B].
        alphas: scales of positives and negatives, > 0.
        deltas: offsets subtracted from the cosines of positives and negatives.
        shard: the classes of the cosines, where these are not all.

    Returns:
        Scalar.

    Example:
        >>> options = {"alphas": (32.0, 32.0), "deltas": (0.1, -0.1)}
        >>> proxy_anchor_nca(torch.eye(2), torch.tensor([0, 1]), **options)  # log(1 + e^3.2)
        tensor(3.2400)
    """
    own = target_mask(labels, cosine.shape[1], shard)
    counts = (labels[:, None] == labels).sum(1).to(cosine)
    pull = log1p_sum_exp(counts.log()[:, None] - alphas[0] * (cosine - deltas[0]), own)
    push = log_sum_exp(alphas[1] * (cosine - deltas[1]), ~own)
    if shard is not None:  # the pull of a row is 0 in processes that lack its class
        pull, push = shard.total(pull), shard.log_sum(push)
    return (pull + torch.logaddexp(push, torch.zeros_like(push))).mean()


class ProxyAnchorNCA(ProxyAnchor):
    """The loss `proxy_anchor_nca`, with parameters and logits as in proxy anchor."""

    takes_shard = True

    def __init__(
        self,
        pos_alpha: float,
        neg_alpha: float,
        pos_delta: float,
        neg_delta: float,
        lr_factor: float | str,
    ) -> None:
        super().__init__(pos_alpha, neg_alpha, pos_delta, neg_delta, "samples", lr_factor)

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
        cosine = cosines(embeddings, self.proxies)
        options = {"alphas": self.alphas, "deltas": self.deltas, "shard": shard}
        return proxy_anchor_nca(cosine, labels, **options)
