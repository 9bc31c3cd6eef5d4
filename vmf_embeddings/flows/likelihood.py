"""How unlikely a flow finds rows, and what is made of that to train by.

Roth, Vinyals, Akata 2022, "Non-isotropy Regularization for Proxy-based Deep Metric Learning",
https://arxiv.org/abs/2203.08547, and the objective of the published code.
"""

import math

import torch
from torch import Tensor

OBJECTIVES = ("exp", "nll", "nll_per_dim")
CAP = (
    30.0  # nats above which exp goes on as a straight line: float32 overflows at 88, float16 at 11
)


def negative_log_likelihood(latents: Tensor, log_det: Tensor, logmatch: float = 1.0) -> Tensor:
    """Negative log-likelihood of every row under a standard normal law of the latents.

    Args:
        latents: z [B, D].
        log_det: log |det dz/dx| [B].
        logmatch: weight of the log-determinant, >= 0; 1 = a likelihood.

    Returns:
        |z|^2 / 2 - logmatch * log_det [B] in nats, without the constant D/2 log(2 pi).

    Example:
        >>> negative_log_likelihood(torch.tensor([[3.0, 4.0]]), torch.tensor([2.5]))
        tensor([10.])
    """
    return latents.square().sum(-1) / 2 - logmatch * log_det


def flow_objective(nll: Tensor, dim: int, objective: str) -> Tensor:
    """The flow's part of the loss.

    "nll" is the published formula, the mean. "exp" is the published code, the mean of exp(nll): its
    gradient is exp(nll) times that of nll, so it stops to act once the flow fits. "nll_per_dim" is
    the mean over rows and dimensions, whose gradient does not grow with D.

    Above 30 nats exp goes on as its tangent: finite in float32, and so is its gradient, which
    still points down where a cut would have none.

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
    raise ValueError(f"the objective of a flow is one of {OBJECTIVES}, got {objective!r}.")
