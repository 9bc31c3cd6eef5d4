"""Proxy NCA: softmax of negative squared distances to the proxies.

Movshovitz-Attias, Toshev, Leung, Ioffe, Singh 2017, "No Fuss Distance Metric Learning using
Proxies", equation 3, https://arxiv.org/abs/1703.07464; with the target's proxy in the
denominator too, Teh, DeVries, Taylor 2020, "ProxyNCA++", https://arxiv.org/abs/2004.01113.
"""

from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.class_shard import ClassShard
from vmf_embeddings.criteria.base import at_least, one_of
from vmf_embeddings.criteria.proxy_anchor import ProxyCriterion, target_mask
from vmf_embeddings.criteria.sums import log_sum_exp
from vmf_embeddings.geometry import cosines

DENOMINATORS = ("others", "all")


def proxy_nca(
    cosine: Tensor,
    labels: Tensor,
    scale: float,
    denominator: str,
    shard: ClassShard | None = None,
) -> Tensor:
    """Mean of d(x, p_y) + log sum exp(-d(x, p)), d = |s x - s p|^2 of unit vectors.

    Args:
        cosine: of embeddings and proxies [B, C], C >= 2.
        labels: [B].
        scale: s, norm of embeddings and proxies, > 0.
        denominator: the sum is over "others", the proxies of other classes, or over "all" proxies.
        shard: the classes of the cosines, where these are not all.

    Returns:
        Scalar in nats; it can be negative with "others".

    Example:
        >>> proxy_nca(torch.eye(2), torch.tensor([0, 1]), 1.0, "others")
        tensor(-2.)
    """
    negative_squared = 2 * scale**2 * (cosine - 1)  # -|s x - s p|^2
    own = target_mask(labels, cosine.shape[1], shard)
    summed = torch.ones_like(own) if denominator == "all" else ~own
    log_sums = log_sum_exp(negative_squared, summed)
    if shard is not None:
        return shard.cross_entropy(negative_squared, labels, log_sums)
    target = negative_squared.gather(1, labels[:, None]).squeeze(1)
    return (log_sums - target).mean()


class ProxyNCA(ProxyCriterion):
    """Proxy NCA; `conf/criterion/proxy_nca.yaml` documents the parameters."""

    takes_shard = True
    published_lr_factor = 50.0

    def __init__(self, scale: float, denominator: str, lr_factor: float | str) -> None:
        super().__init__(lr_factor)
        at_least(0, above=True, scale=scale)
        one_of("denominator", denominator, DENOMINATORS)
        self.scale, self.denominator = scale, denominator

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        triplets: None = None,
        *,
        shard: ClassShard | None = None,
        **context: Any,
    ) -> Tensor:
        """Embeddings [B, D] of any norm, labels [B] -> scalar in nats."""
        cosine = cosines(embeddings, self.proxies)
        return proxy_nca(cosine, labels, self.scale, self.denominator, shard)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> minus squared distances to the proxies [B, C]."""
        return 2 * self.scale**2 * (cosines(embeddings, self.proxies) - 1)
