"""SoftTriple: softmax loss on a soft maximum of the similarities to several centres per class.

Qian, Shang, Sun, Hu, Li, Jin 2019, "SoftTriple Loss: Deep Metric Learning Without Triplet
Sampling", equations 6 to 8, https://arxiv.org/abs/1909.05235.
"""

from typing import Any

import torch
from torch import Tensor, nn

from vmf_embeddings.class_shard import ClassShard
from vmf_embeddings.criteria.base import Criterion, at_least, init_proxies, param_group
from vmf_embeddings.geometry import cosines


def class_similarities(embeddings: Tensor, centres: Tensor, gamma: float) -> Tensor:
    """Cosines with the K centres of a class, averaged with weights softmax(cosines / gamma).

    Args:
        embeddings: [B, D], of any norm.
        centres: [C, K, D], of any norm.
        gamma: temperature of the softmax over the K centres, > 0.

    Returns:
        [B, C] in [-1, 1].

    Example:
        >>> centres = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> class_similarities(torch.tensor([[2.0, 0.0]]), centres, 0.1)
        tensor([[1.0000]])
    """
    each = cosines(embeddings, centres.flatten(0, 1)).unflatten(1, centres.shape[:2])
    return ((each / gamma).softmax(-1) * each).sum(-1)


def centre_spread(centres: Tensor) -> Tensor:
    """Distances between the normalised centres of each class; 0 for one centre.

    Args:
        centres: [C, K, D], of any norm.

    Returns:
        Scalar: sum over c and k < k' of |w_ck - w_ck'|, over C K (K - 1).

    Example:
        >>> centre_spread(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))
        tensor(0.7071)
    """
    n_classes, n_centres, _ = centres.shape
    if n_centres == 1:
        return centres.new_zeros(())
    unit = nn.functional.normalize(centres, dim=-1)
    first, second = torch.triu_indices(n_centres, n_centres, offset=1, device=centres.device)
    products = (unit[:, first] * unit[:, second]).sum(-1)
    spread = (2 + 1e-5 - 2 * products).sqrt().sum()  # + 1e-5 as published: finite gradient at 0
    return spread / (n_classes * n_centres * (n_centres - 1))


class SoftTriple(Criterion):
    """SoftTriple; `conf/criterion/soft_triple.yaml` documents the parameters."""

    normalizes = True
    takes_shard = True
    proxies: Tensor
    """Centres [C, K, D], of any norm."""

    def __init__(
        self,
        n_centres: int,
        margin: float,
        gamma: float,
        scale: float,
        reg_weight: float,
        lr_factor: float,
    ) -> None:
        super().__init__()
        at_least(1, n_centres=n_centres)
        at_least(0, margin=margin, reg_weight=reg_weight, lr_factor=lr_factor)
        at_least(0, above=True, gamma=gamma, scale=scale)
        self.n_centres, self.margin, self.gamma = n_centres, margin, gamma
        self.scale, self.reg_weight, self.lr_factor = scale, reg_weight, lr_factor
        self.register_parameter("proxies", None)

    def build(self, n_classes: int, dim: int, n_features: int | None = None) -> None:
        """Initialises the centres [C, K, D]."""
        self.proxies = init_proxies(n_classes, self.n_centres, dim)

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
        logits, spread = self.logits(embeddings), centre_spread(self.proxies)
        shift = torch.full_like(labels, -self.scale * self.margin, dtype=logits.dtype)
        if shard is None:
            logits = logits.scatter_add(1, labels[:, None], shift[:, None])
            return nn.functional.cross_entropy(logits, labels) + self.reg_weight * spread
        is_own, rows = shard.own(labels)
        logits = logits.scatter_add(1, rows[:, None], (shift * is_own)[:, None])
        spread = shard.total(spread * (len(self.proxies) / shard.n_classes))
        return shard.cross_entropy(logits, labels) + self.reg_weight * spread

    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> scaled similarities [B, C], without the margin."""
        return self.scale * class_similarities(embeddings, self.proxies, self.gamma)

    @property
    def class_weights(self) -> Tensor:
        """Mean of the unit centres of each class [C, D]."""
        return nn.functional.normalize(self.proxies, dim=-1).mean(1)

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """One group: the centres, with `lr_factor` times the learning rate of the run."""
        return param_group(self.proxies, lr_factor=self.lr_factor)
