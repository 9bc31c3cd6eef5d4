"""Scores as functions of arrays; `evaluate` computes all those of metric learning in one call."""

from vmf_embeddings.metrics.calibration import (
    ReliabilityBins,
    expected_calibration_error,
    reliability_bins,
)
from vmf_embeddings.metrics.calibration_chance import (
    ChanceError,
    error_if_calibrated,
    expected_error_if_calibrated,
)
from vmf_embeddings.metrics.calibration_errors import (
    classwise_calibration_errors,
    confidence_gap,
    debiased_squared_error,
    maximum_calibration_error,
)
from vmf_embeddings.metrics.classification import (
    accuracy,
    brier_score,
    macro_accuracy,
    macro_f1,
    negative_log_likelihood,
    per_class_accuracy,
    probabilities,
    top_k_accuracy,
)
from vmf_embeddings.metrics.clustering import ClusterScores, cluster_scores, kmeans
from vmf_embeddings.metrics.confidence import logit_confidences
from vmf_embeddings.metrics.embedding_scores import EmbeddingScores, evaluate
from vmf_embeddings.metrics.marginal_retrieval import MarginalScores, marginal_retrieval
from vmf_embeddings.metrics.ood import ClassGaussians, ClassMeans, kth_neighbour
from vmf_embeddings.metrics.paired_tests import Signs, sign_flip_p, signs
from vmf_embeddings.metrics.principal_components import PrincipalComponents
from vmf_embeddings.metrics.prior import (
    choose_tau,
    class_recall,
    estimated_prior,
    log_frequencies,
    long_tailed_counts,
    predictions,
    recall_means,
)
from vmf_embeddings.metrics.resampling import (
    bootstrap,
    percentile_interval,
    weighted_class_mean,
    weighted_mean,
)
from vmf_embeddings.metrics.retrieval import retrieval
from vmf_embeddings.metrics.retrieval_scores import RetrievalRows, RetrievalScores
from vmf_embeddings.metrics.scaling import (
    Temperature,
    VectorScaling,
    fit_temperature,
    fit_vector_scaling,
)
from vmf_embeddings.metrics.shots import ShotScore, ShotScores, Thresholds, shot_scores
from vmf_embeddings.metrics.smooth_calibration import (
    smooth_calibration_error,
    smooth_calibration_error_at,
)
from vmf_embeddings.metrics.spectrum import log_spectrum, rho_spectrum, singular_values
from vmf_embeddings.metrics.spread import (
    ClassDistances,
    Concentration,
    alignment,
    class_distances,
    concentration,
    concentrations,
    uniformity,
)
from vmf_embeddings.metrics.standard_errors import wilson_95
from vmf_embeddings.metrics.t_tests import MeanTest, paired_t, t_interval, welch

__all__ = [
    "ChanceError",
    "ClassDistances",
    "ClassGaussians",
    "ClassMeans",
    "ClusterScores",
    "Concentration",
    "EmbeddingScores",
    "MarginalScores",
    "MeanTest",
    "PrincipalComponents",
    "ReliabilityBins",
    "RetrievalRows",
    "RetrievalScores",
    "ShotScore",
    "ShotScores",
    "Signs",
    "Temperature",
    "Thresholds",
    "VectorScaling",
    "accuracy",
    "alignment",
    "bootstrap",
    "brier_score",
    "choose_tau",
    "class_distances",
    "class_recall",
    "classwise_calibration_errors",
    "cluster_scores",
    "concentration",
    "concentrations",
    "confidence_gap",
    "debiased_squared_error",
    "error_if_calibrated",
    "estimated_prior",
    "evaluate",
    "expected_calibration_error",
    "expected_error_if_calibrated",
    "fit_temperature",
    "fit_vector_scaling",
    "kmeans",
    "kth_neighbour",
    "log_frequencies",
    "log_spectrum",
    "logit_confidences",
    "long_tailed_counts",
    "macro_accuracy",
    "macro_f1",
    "marginal_retrieval",
    "maximum_calibration_error",
    "negative_log_likelihood",
    "paired_t",
    "per_class_accuracy",
    "percentile_interval",
    "predictions",
    "probabilities",
    "recall_means",
    "reliability_bins",
    "retrieval",
    "rho_spectrum",
    "shot_scores",
    "sign_flip_p",
    "signs",
    "singular_values",
    "smooth_calibration_error",
    "smooth_calibration_error_at",
    "t_interval",
    "top_k_accuracy",
    "uniformity",
    "weighted_class_mean",
    "weighted_mean",
    "welch",
    "wilson_95",
]
