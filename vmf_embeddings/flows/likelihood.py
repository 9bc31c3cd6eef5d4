"""Negative log-likelihood under a flow, and the training objectives based on it.

Roth, Vinyals, Akata 2022, "Non-isotropy Regularization for Proxy-based Deep Metric Learning",
https://arxiv.org/abs/2203.08547, and the objective of the published code.
"""

import math

import torch
from torch import Tensor

OBJECTIVES = ("exp", "nll", "nll_per_dim")
CAP = 30.0  # nats; above, exp is replaced by its tangent: it overflows float32 at 88, float16 at 11


def negative_log_likelihood(latents: Tensor, log_det: Tensor, logmatch: float = 1.0) -> Tensor:
    """Negative log-likelihood of every embedding, for standard normal latents.

    Args:
        latents: z [B, D].
        log_det: log |det dz/dx| [B].
        logmatch: weight of the log-determinant, >= 0; the likelihood has 1.

    Returns:
        |z|^2 / 2 - logmatch * log_det [B] in nats, without the constant D/2 log(2 pi).

    Example:
        >>> negative_log_likelihood(torch.tensor([[3.0, 4.0]]), torch.tensor([2.5]))
        tensor([10.])
    """
    return latents.square().sum(-1) / 2 - logmatch * log_det


def flow_objective(nll: Tensor, dim: int, objective: str) -> Tensor:
    """Loss of a flow, from the negative log-likelihoods of a batch.

    "nll" is the formula of the paper, mean(nll). "exp" is what the published code does,
    mean(exp(nll)): its gradient is exp(nll) times that of nll, so it vanishes once the flow fits.
    "nll_per_dim" is mean(nll) / D, whose gradient does not grow with D.

    Above 30 nats exp is replaced by its tangent, exp(30) (1 + nll - 30): value and gradient stay
    finite in float32, and the gradient does not vanish as that of a clamp would.

    Args:
        nll: negative log-likelihoods [B], in nats.
        dim: D.
        objective: one of `OBJECTIVES`.

    Returns:
        Scalar.

    Example:
        >>> nll = torch.tensor([0.0, 2.0])
        >>> [round(flow_objective(nll, 4, name).item(), 4) for name in OBJECTIVES]
        [4.1945, 1.0, 0.25]
    """
    if objective == "nll":
        return nll.mean()
    if objective == "nll_per_dim":
        return nll.mean() / dim
    if objective == "exp":
        tangent = math.exp(CAP) * (1 + nll - CAP)
        return torch.where(nll > CAP, tangent, nll.clamp(max=CAP).exp()).mean()
    raise ValueError(f"flow_objective must be one of {OBJECTIVES}, got {objective!r}.")
