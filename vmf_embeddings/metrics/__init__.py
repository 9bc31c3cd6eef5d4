"""Scores as functions of arrays; `evaluate` computes all those of metric learning in one call."""

from vmf_embeddings.metrics.calibration import (
    ReliabilityBins,
    expected_calibration_error,
    reliability_bins,
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
from vmf_embeddings.metrics.embedding_scores import EmbeddingScores, evaluate
from vmf_embeddings.metrics.marginal_retrieval import MarginalScores, marginal_retrieval
from vmf_embeddings.metrics.paired_tests import Signs, sign_flip_p, signs
from vmf_embeddings.metrics.principal_components import PrincipalComponents
from vmf_embeddings.metrics.resampling import (
    bootstrap,
    percentile_interval,
    weighted_class_mean,
    weighted_mean,
)
from vmf_embeddings.metrics.retrieval import retrieval
from vmf_embeddings.metrics.retrieval_scores import RetrievalRows, RetrievalScores
from vmf_embeddings.metrics.shots import ShotScore, ShotScores, Thresholds, shot_scores
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
    "ClassDistances",
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
    "Thresholds",
    "accuracy",
    "alignment",
    "bootstrap",
    "brier_score",
    "class_distances",
    "cluster_scores",
    "concentration",
    "concentrations",
    "evaluate",
    "expected_calibration_error",
    "kmeans",
    "log_spectrum",
    "macro_accuracy",
    "macro_f1",
    "marginal_retrieval",
    "negative_log_likelihood",
    "paired_t",
    "per_class_accuracy",
    "percentile_interval",
    "probabilities",
    "reliability_bins",
    "retrieval",
    "rho_spectrum",
    "shot_scores",
    "sign_flip_p",
    "signs",
    "singular_values",
    "t_interval",
    "top_k_accuracy",
    "uniformity",
    "weighted_class_mean",
    "weighted_mean",
    "welch",
    "wilson_95",
]
