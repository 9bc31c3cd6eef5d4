"""The mathematics of the sphere: Bessel functions, the von Mises-Fisher density and its sampler."""

from .approximation import (
    log_normalizer_approx,
    log_normalizer_difference_approx,
    mean_cosine_approx,
)
from .bessel import cosine_variance, mean_cosine, mean_cosine_inverse
from .log_normalizer import log_normalizer, log_normalizer_difference

__all__ = [
    "cosine_variance",
    "log_normalizer",
    "log_normalizer_approx",
    "log_normalizer_difference",
    "log_normalizer_difference_approx",
    "mean_cosine",
    "mean_cosine_approx",
    "mean_cosine_inverse",
]
