"""Proxy anchor's sums over the other axis: each example pulled to its proxy, pushed from the rest.

What the code of NIR (Roth, Vinyals, Akata 2022, https://arxiv.org/abs/2203.08547) calls the mode
`nca` of its proxy objective. It is not ProxyNCA: that is criterion=proxy_nca.
"""

from typing import Any

from torch import Tensor

from vmf_embeddings.criteria.proxy_anchor import ProxyAnchor, of_own_class
from vmf_embeddings.criteria.sums import log1p_sum_exp
from vmf_embeddings.geometry import cosines


def proxy_anchor_nca(
    cosine: Tensor,
    labels: Tensor,
    *,
    alphas: tuple[float, float],
    deltas: tuple[float, float],
) -> Tensor:
    """Mean of log(1 + n exp(-alpha (s_own - delta))) and of log(1 + sum exp(alpha (s - delta))).

    n is how often the example's class is in the batch, itself included.

    Args:
        cosine: of embeddings and proxies [B, C].
        labels: classes [B].
        alphas: scales of positives and negatives, > 0.
        deltas: cosines at which a positive and a negative begin to count.

    Returns:
        Scalar.

    Example:
        >>> import torch
        >>> knobs = {"alphas": (32.0, 32.0), "deltas": (0.1, -0.1)}
        >>> proxy_anchor_nca(torch.eye(2), torch.tensor([0, 1]), **knobs)  # log(1 + e^3.2)
        tensor(3.2400)
    """
    own = of_own_class(labels, cosine.shape[1])
    counts = own.sum(0)[labels].to(cosine)
    pull = log1p_sum_exp(counts.log()[:, None] - alphas[0] * (cosine - deltas[0]), own)
    push = log1p_sum_exp(alphas[1] * (cosine - deltas[1]), ~own)
    return (pull + push).mean()


class ProxyAnchorNCA(ProxyAnchor):
    """Proxies, knobs and logits of proxy anchor under `proxy_anchor_nca`."""

    def __init__(
        self,
        pos_alpha: float,
        neg_alpha: float,
        pos_delta: float,
        neg_delta: float,
        lr_factor: float,
    ) -> None:
        super().__init__(pos_alpha, neg_alpha, pos_delta, neg_delta, "samples", lr_factor)

    def forward(
        self, embeddings: Tensor, labels: Tensor, triplets: None = None, **context: Any
    ) -> Tensor:
        """Embeddings [B, D] of any length, labels [B] -> scalar."""
        cosine = cosines(embeddings, self.proxies)
        return proxy_anchor_nca(cosine, labels, alphas=self.alphas, deltas=self.deltas)
