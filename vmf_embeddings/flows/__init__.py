"""Normalizing flows with a condition: invertible maps whose log-determinant is known.

Dinh, Sohl-Dickstein, Bengio 2017, "Density estimation using Real NVP", https://arxiv.org/abs/1605.08803;
Kingma, Dhariwal 2018, "Glow", https://arxiv.org/abs/1807.03039.
"""

from vmf_embeddings.flows.flow import ConditionalFlow
from vmf_embeddings.flows.likelihood import (
    OBJECTIVES,
    flow_objective,
    negative_log_likelihood,
)

__all__ = ["OBJECTIVES", "ConditionalFlow", "flow_objective", "negative_log_likelihood"]
