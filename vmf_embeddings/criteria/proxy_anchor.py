"""Proxy anchor: every proxy pulls at its class and pushes at the others, the hardest most.

Kim, Kim, Cho, Kwak 2020, "Proxy Anchor Loss for Deep Metric Learning", equation 4,
https://arxiv.org/abs/2003.13911.
"""

from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.criteria.base import Criterion, at_least, init_proxies, one_of, param_group
from vmf_embeddings.criteria.sums import log1p_sum_exp
from vmf_embeddings.geometry import cosines


def of_own_class(labels: Tensor, n_classes: int) -> Tensor:
    """Mask [B, C]: whether class c is the label [B] of row b."""
    return labels[:, None] == torch.arange(n_classes, device=labels.device)


def proxy_anchor(
    cosine: Tensor,
    labels: Tensor,
    *,
    alphas: tuple[float, float],
    deltas: tuple[float, float],
    average: str = "samples",
) -> Tensor:
    """Mean over proxies of log(1 + sum exp(-alpha (s - delta))), and of its mirror image.

    Args:
        cosine: of embeddings and proxies [B, C].
        labels: classes [B].
        alphas: scales of positives and negatives, > 0.
        deltas: cosines at which a positive and a negative begin to count.
        average: of the positive term: "samples" = over the batch, so that a class counts as often
            as it is there, as in the code of NIR; "classes" = over the classes of the batch, as in
            the paper. The same where every class is there equally often.

    Returns:
        Scalar.

    Example:
        >>> knobs = {"alphas": (32.0, 32.0), "deltas": (0.1, -0.1)}
        >>> proxy_anchor(torch.eye(2), torch.tensor([0, 1]), **knobs)  # log(1 + e^3.2)
        tensor(3.2400)
    """
    own = of_own_class(labels, cosine.shape[1])
    pull = log1p_sum_exp(-alphas[0] * (cosine - deltas[0]), own, dim=0)
    push = log1p_sum_exp(alphas[1] * (cosine - deltas[1]), ~own, dim=0)
    counts = own.sum(0)
    weights = counts if average == "samples" else (counts > 0).to(counts)
    return (weights * pull).sum() / weights.sum() + push.mean()


class ProxyCriterion(Criterion):
    """Base of the criteria with one proxy per class: where they start and how fast they learn.

    Args:
        lr_factor: their learning rate over that of the run, >= 0.
    """

    normalizes = True
    proxies: Tensor
    """[C, D], of any length."""

    def __init__(self, lr_factor: float) -> None:
        super().__init__()
        at_least(0, lr_factor=lr_factor)
        self.lr_factor = lr_factor
        self.register_parameter("proxies", None)

    def build(self, n_classes: int, dim: int, n_features: int | None = None) -> None:
        """Draws the proxies."""
        self.proxies = init_proxies(n_classes, dim)

    @property
    def class_weights(self) -> Tensor:
        """The proxies [C, D]."""
        return self.proxies

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """The proxies', `lr_factor` times the run's."""
        return param_group(self.proxies, lr_factor=self.lr_factor)


class ProxyAnchor(ProxyCriterion):
    """Proxy anchor on cosines; `conf/criterion/proxy_anchor.yaml` explains each knob."""

    def __init__(
        self,
        pos_alpha: float,
        neg_alpha: float,
        pos_delta: float,
        neg_delta: float,
        average: str,
        lr_factor: float,
    ) -> None:
        super().__init__(lr_factor)
        at_least(0, above=True, pos_alpha=pos_alpha, neg_alpha=neg_alpha)
        one_of("average", average, ("samples", "classes"))
        self.alphas, self.deltas, self.average = (
            (pos_alpha, neg_alpha),
            (pos_delta, neg_delta),
            average,
        )

    def forward(
        self, embeddings: Tensor, labels: Tensor, triplets: None = None, **context: Any
    ) -> Tensor:
        """Embeddings [B, D] of any length, labels [B] -> scalar."""
        knobs = {"alphas": self.alphas, "deltas": self.deltas, "average": self.average}
        return proxy_anchor(cosines(embeddings, self.proxies), labels, **knobs)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> alpha cos(x, p) [B, C]: classes ranked by their proxies' cosine."""
        return self.alphas[0] * cosines(embeddings, self.proxies)
