"""Mathematics of the sphere: Bessel ratios, von Mises-Fisher density, sampler and loss."""

from vmf_embeddings.directional.approximation import (
    log_normalizer_approx,
    log_normalizer_difference_approx,
    mean_cosine_approx,
)
from vmf_embeddings.directional.bessel import cosine_variance, mean_cosine, mean_cosine_inverse
from vmf_embeddings.directional.bound import ESTIMATORS, softmax_bound, softmax_bound_of_draws
from vmf_embeddings.directional.class_densities import ClassDensities
from vmf_embeddings.directional.distribution import (
    HypersphericalUniform,
    VonMisesFisher,
    unit_vector,
)
from vmf_embeddings.directional.elk import (
    kl_divergence,
    log_bhattacharyya,
    log_elk,
    relative_log_elk,
)
from vmf_embeddings.directional.estimation import fit_von_mises_fisher
from vmf_embeddings.directional.gradient import angle_derivative, attach_kappa_gradient
from vmf_embeddings.directional.log_normalizer import log_normalizer, log_normalizer_difference
from vmf_embeddings.directional.mixture import VonMisesFisherMixture
from vmf_embeddings.directional.nivmf import nivmf_log_prob, nivmf_sample
from vmf_embeddings.directional.normals import standard_normals_
from vmf_embeddings.directional.power_spherical import PowerSpherical
from vmf_embeddings.directional.reference_sampler import householder_transform
from vmf_embeddings.directional.relative_normalizer import relative_log_normalizer
from vmf_embeddings.directional.sampler import SAMPLERS, sample, sample_angle, sample_cosine
from vmf_embeddings.directional.seeding import spherical_kmeans_plus_plus
from vmf_embeddings.directional.tangent import random_tangent_points, tangent_points
from vmf_embeddings.directional.uniform import sample_sphere_coordinate

__all__ = [
    "ESTIMATORS",
    "SAMPLERS",
    "ClassDensities",
    "HypersphericalUniform",
    "PowerSpherical",
    "VonMisesFisher",
    "VonMisesFisherMixture",
    "angle_derivative",
    "attach_kappa_gradient",
    "cosine_variance",
    "fit_von_mises_fisher",
    "householder_transform",
    "kl_divergence",
    "log_bhattacharyya",
    "log_elk",
    "log_normalizer",
    "log_normalizer_approx",
    "log_normalizer_difference",
    "log_normalizer_difference_approx",
    "mean_cosine",
    "mean_cosine_approx",
    "mean_cosine_inverse",
    "nivmf_log_prob",
    "nivmf_sample",
    "random_tangent_points",
    "relative_log_elk",
    "relative_log_normalizer",
    "sample",
    "sample_angle",
    "sample_cosine",
    "sample_sphere_coordinate",
    "softmax_bound",
    "softmax_bound_of_draws",
    "spherical_kmeans_plus_plus",
    "standard_normals_",
    "tangent_points",
    "unit_vector",
]
