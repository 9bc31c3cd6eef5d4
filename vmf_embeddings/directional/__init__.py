"""The mathematics of the sphere: Bessel functions, the von Mises-Fisher density and its sampler."""

from .approximation import (
    log_normalizer_approx,
    log_normalizer_difference_approx,
    mean_cosine_approx,
)
from .bessel import cosine_variance, mean_cosine, mean_cosine_inverse
from .distribution import HypersphericalUniform, VonMisesFisher
from .log_normalizer import log_normalizer, log_normalizer_difference
from .reference_sampler import householder_transform
from .sampler import sample, sample_angle, sample_cosine
from .uniform import sample_sphere_coordinate

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
]
