"""Vector scaling: class-dependent temperatures and a log prior in one loss.

Kini et al. 2021, "Label-Imbalanced and Group-Sensitive Classification under
Overparameterization", equation 1, https://arxiv.org/abs/2103.01550.
"""

from torch import Tensor
from torch.nn.functional import cross_entropy

from vmf_embeddings.losses.base import Loss
from vmf_embeddings.losses.cdt import class_temperatures
from vmf_embeddings.losses.logit_adjustment import log_frequencies


def vector_scaling_loss(
    logits: Tensor, labels: Tensor, class_counts: Tensor, gamma: float, tau: float
) -> Tensor:
    """Cross-entropy of z / (n_max / n)^gamma + tau log pi.

    Args:
        logits: [B, C].
        labels: [B] in 0..C-1, or soft labels [B, C].
        class_counts: images per class [C], >= 1.
        gamma: exponent of the temperatures, >= 0; 0 = logit adjustment.
        tau: factor of the log frequencies pi; 0 = class-dependent temperatures only.

    Returns:
        Mean in nats, scalar.

    Example:
        >>> import torch
        >>> z, y, n = torch.zeros(1, 2), torch.tensor([1]), torch.tensor([3, 1])
        >>> vector_scaling_loss(z, y, n, gamma=0.3, tau=1.0)
        tensor(1.3863)
    """
    temperatures = class_temperatures(class_counts, gamma).to(logits.dtype)
    shift = tau * log_frequencies(class_counts).to(logits.dtype)
    return cross_entropy(logits / temperatures + shift, labels)


class VectorScaling(Loss):
    """Cross-entropy of z / (n_max / n)^gamma + tau log pi, in training only.

    Args:
        gamma: exponent of the temperatures, >= 0.
        tau: factor of the log frequencies, >= 0.
    """

    needs_class_counts = True
    uses_prior = True

    def __init__(self, gamma: float, tau: float) -> None:
        super().__init__()
        for name, value in (("gamma", gamma), ("tau", tau)):
            if not value >= 0:
                raise ValueError(f"loss.params.{name} must be >= 0, got {value}.")
        self.gamma, self.tau = gamma, tau

    def forward(self, logits: Tensor, labels: Tensor, *, features: Tensor | None = None) -> Tensor:
        """Logits [B, C], labels [B] or soft labels [B, C] -> scalar in nats."""
        return vector_scaling_loss(logits, labels, self.counts, self.gamma, self.tau)
