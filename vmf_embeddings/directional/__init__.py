"""The mathematics of the sphere: Bessel functions, the von Mises-Fisher density and its sampler."""

from vmf_embeddings.directional.approximation import (
    log_normalizer_approx,
    log_normalizer_difference_approx,
    mean_cosine_approx,
)
from vmf_embeddings.directional.bessel import cosine_variance, mean_cosine, mean_cosine_inverse
from vmf_embeddings.directional.bound import softmax_bound, softmax_bound_of_draws
from vmf_embeddings.directional.distribution import HypersphericalUniform, VonMisesFisher
from vmf_embeddings.directional.log_normalizer import log_normalizer, log_normalizer_difference
from vmf_embeddings.directional.reference_sampler import householder_transform
from vmf_embeddings.directional.sampler import sample, sample_angle, sample_cosine
from vmf_embeddings.directional.uniform import sample_sphere_coordinate

__all__ = [
    "HypersphericalUniform",
    "VonMisesFisher",
    "cosine_variance",
    "householder_transform",
    "log_normalizer",
    "log_normalizer_approx",
    "log_normalizer_difference",
    "log_normalizer_difference_approx",
    "mean_cosine",
    "mean_cosine_approx",
    "mean_cosine_inverse",
    "sample",
    "sample_angle",
    "sample_cosine",
    "sample_sphere_coordinate",
    "softmax_bound",
    "softmax_bound_of_draws",
]
