"""Conditional normalizing flows: invertible networks whose log-determinant is known.

Dinh, Sohl-Dickstein, Bengio 2017, "Density estimation using Real NVP", https://arxiv.org/abs/1605.08803;
Kingma, Dhariwal 2018, "Glow", https://arxiv.org/abs/1807.03039.
"""

from vmf_embeddings.flows.conditions import CONDITIONS, Conditions
from vmf_embeddings.flows.coupling import AffineCoupling, affine, inverse_affine, log_scale
from vmf_embeddings.flows.flow import ConditionalFlow, permutation
from vmf_embeddings.flows.likelihood import (
    OBJECTIVES,
    flow_objective,
    negative_log_likelihood,
)
from vmf_embeddings.flows.subnet import INITS, mlp

__all__ = [
    "CONDITIONS",
    "INITS",
    "OBJECTIVES",
    "AffineCoupling",
    "ConditionalFlow",
    "Conditions",
    "affine",
    "flow_objective",
    "inverse_affine",
    "log_scale",
    "mlp",
    "negative_log_likelihood",
    "permutation",
]
