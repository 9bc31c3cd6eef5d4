"""Feature scaling: in training, features are multiplied by a factor that depends on the class size.

The module of FSGL (https://github.com/ZY-IMU-CV/FSGL): features of class k are multiplied by s_k
before the classifier, with larger factors for frequent classes. The backbone then learns features
of smaller norm for frequent classes than it would otherwise. No scaling at test time.
"""

from typing import Any

import torch
from torch import Tensor, nn

MODES = ("rank", "logfreq", "const", "half")


def class_factors(mode: str, strength: float, class_counts: Tensor) -> Tensor:
    """Factor of the features of each class.

    With the rank r of a class, from 0 by decreasing size, ties by class number:
    rank: 1 + strength (1 - r/C). half: the same for the first ceil(C/2) ranks, 1 for the others.
    const: 1 + strength. logfreq: 1 + strength log(n/n_min) / log(n_max/n_min), which is 1 for the
    smallest class, and 1 for all if all classes have the same size.

    Args:
        mode: one of `MODES`.
        strength: gamma >= 0; 0 gives factors of 1.
        class_counts: images per class [C], >= 1.

    Returns:
        [C] in float64, in [1, 1 + strength].

    Example:
        >>> class_factors("rank", 1.0, torch.tensor([10, 40]))
        tensor([1.5000, 2.0000], dtype=torch.float64)
        >>> class_factors("logfreq", 1.0, torch.tensor([10, 1, 100]))
        tensor([1.5000, 1.0000, 2.0000], dtype=torch.float64)
    """
    n_classes = len(class_counts)
    if mode == "const":
        return torch.full((n_classes,), 1.0 + strength, dtype=torch.float64)
    if mode == "logfreq":
        above = (class_counts.double() / class_counts.min()).log()
        return 1 + strength * above / above.max().clamp_min(torch.finfo(above.dtype).tiny)
    order = class_counts.argsort(descending=True, stable=True)
    factors = 1 + strength * (1 - torch.arange(n_classes, dtype=torch.float64) / n_classes)
    if mode == "half":
        factors[(n_classes + 1) // 2 :] = 1
    return torch.empty_like(factors).scatter_(0, order, factors)


class FeatureScaling(nn.Module):
    """Multiplies embeddings by the factor of their class; with soft labels by the expected factor.

    Args:
        mode: one of `MODES`.
        strength: gamma >= 0.
        round_decimals: decimals to round the factors to, 2 in the original code; None = exact.
    """

    class_factors: Tensor

    def __init__(self, mode: str, strength: float, round_decimals: int | None) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(
                f"feature_scaling.params.mode must be one of {', '.join(MODES)}, got {mode!r}."
            )
        if not strength >= 0:
            raise ValueError(f"feature_scaling.params.strength must be >= 0, got {strength}.")
        self.mode, self.strength, self.round_decimals = mode, strength, round_decimals
        self.register_buffer("class_factors", torch.zeros(0))

    def prepare(self, class_counts: Tensor) -> None:
        """Computes the factors from the images per class [C] of the training split.

        Raises:
            ValueError: a class has no image.
        """
        if not bool((class_counts > 0).all()):
            raise ValueError("feature_scaling needs at least one training image of every class.")
        factors = class_factors(self.mode, self.strength, class_counts.cpu())
        if self.round_decimals is not None:
            factors = factors.round(decimals=self.round_decimals)
        self.class_factors = factors.to(self.class_factors)

    @torch.no_grad()
    def factors(self, labels: Tensor) -> Tensor:
        """Classes [B], or soft labels [B, C] whose rows sum to 1 -> factors [B]."""
        if self.class_factors.numel() == 0:
            raise ValueError("feature_scaling needs prepare(class_counts) before the first batch.")
        if labels.is_floating_point():
            return labels.to(self.class_factors.dtype) @ self.class_factors
        return self.class_factors[labels]

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels [B] or [B, C] -> scaled embeddings [B, D], dtype unchanged."""
        return embeddings * self.factors(labels).to(embeddings.dtype)[:, None]

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Allocates the factors before they are loaded: until `prepare` they are empty."""
        stored = state.get(f"{prefix}class_factors")
        if stored is not None:
            self.class_factors = torch.empty_like(stored, device=self.class_factors.device)
        super()._load_from_state_dict(state, prefix, *rest)


def unscaled() -> None:
    """Builds nothing, for `feature_scaling=none`."""
