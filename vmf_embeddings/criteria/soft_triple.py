"""SoftTriple: softmax on the similarity to the nearest of several centres per class.

Qian, Shang, Sun, Hu, Li, Jin 2019, "SoftTriple Loss: Deep Metric Learning Without Triplet
Sampling", equations 6 to 8, https://arxiv.org/abs/1909.05235.
"""

from typing import Any

import torch
from torch import Tensor, nn

from vmf_embeddings.criteria.base import Criterion, at_least, init_proxies, param_group
from vmf_embeddings.geometry import cosines


def class_similarities(embeddings: Tensor, centres: Tensor, gamma: float) -> Tensor:
    """Cosines with the centres of each class, averaged by their softmax.

    Args:
        embeddings: [B, D], of any length.
        centres: [C, K, D], of any length.
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
    """Mean distance of the centres of a class, of unit length, over all classes: 0 for one centre.

    Args:
        centres: [C, K, D], of any length.

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
    spread = (2 + 1e-5 - 2 * products).sqrt().sum()  # 1e-5: as published, the root has a slope
    return spread / (n_classes * n_centres * (n_centres - 1))


class SoftTriple(Criterion):
    """SoftTriple; `conf/criterion/soft_triple.yaml` explains each knob."""

    normalizes = True
    proxies: Tensor
    """Centres [C, K, D], of any length."""

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
        """Draws the centres."""
        self.proxies = init_proxies(n_classes, self.n_centres, dim)

    def forward(
        self, embeddings: Tensor, labels: Tensor, triplets: None = None, **context: Any
    ) -> Tensor:
        """Embeddings [B, D] of any length, labels [B] -> scalar in nats."""
        logits = self.logits(embeddings)
        lowered = torch.full_like(labels, -self.scale * self.margin, dtype=logits.dtype)
        logits = logits.scatter_add(1, labels[:, None], lowered[:, None])
        loss = nn.functional.cross_entropy(logits, labels)
        return loss + self.reg_weight * centre_spread(self.proxies)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> scaled similarities [B, C], without the margin."""
        return self.scale * class_similarities(embeddings, self.proxies, self.gamma)

    @property
    def class_weights(self) -> Tensor:
        """Mean of the unit centres of each class [C, D]."""
        return nn.functional.normalize(self.proxies, dim=-1).mean(1)

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """The centres', `lr_factor` times the run's."""
        return param_group(self.proxies, lr_factor=self.lr_factor)
