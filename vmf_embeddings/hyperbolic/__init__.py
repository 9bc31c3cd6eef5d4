"""Pure functions of the Poincare ball: exponential maps, distances, logits."""

from vmf_embeddings.hyperbolic.ball import (
    conformal_factor,
    expmap,
    expmap0,
    logmap0,
    mobius_add,
    project,
    riemannian_gradient,
)
from vmf_embeddings.hyperbolic.distance import distance, distance_ratio, reference_distance
from vmf_embeddings.hyperbolic.logits import hyperbolic_logits

__all__ = [
    "conformal_factor",
    "distance",
    "distance_ratio",
    "expmap",
    "expmap0",
    "hyperbolic_logits",
    "logmap0",
    "mobius_add",
    "project",
    "reference_distance",
    "riemannian_gradient",
]
