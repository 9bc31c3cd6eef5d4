"""The term that makes logits kappa_c mu_c . x log densities over the uniform distribution.

Govindarajan, Siden, Roll, Lindsten 2023, "DINO as a von Mises-Fisher mixture model",
https://arxiv.org/abs/2405.10939. The normaliser is exact here.
"""

import torch
from torch import Tensor

from vmf_embeddings.directional.log_normalizer import log_normalizer_difference


def relative_log_normalizer(kappa: Tensor, dim: int) -> Tensor:
    """Log C(kappa) - log C(0): kappa mu . x plus this is a log density over the uniform one.

    Its slope is minus the mean cosine A(kappa), so that the sum is largest where the cosine is the
    mean one: about -kappa^2 / (2 D) for small kappa, near -kappa for large ones.

    Args:
        kappa: concentrations >= 0, [C].
        dim: D >= 2.

    Returns:
        [C] in nats, <= 0.

    Example:
        >>> relative_log_normalizer(torch.tensor([1.0, 10.0, 100.0]), 128)
        tensor([-3.9061e-03, -3.8946e-01, -3.1992e+01])
    """
    compute = log_normalizer_difference
    if torch.compiler.is_compiling():  # series are chosen by the values
        compute = torch.compiler.disable(compute)
    return -compute(kappa.new_zeros(1), kappa.square(), dim)
