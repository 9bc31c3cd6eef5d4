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
from vmf_embeddings.metrics.principal_components import PrincipalComponents
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

__all__ = [
    "ClassDistances",
    "ClusterScores",
    "Concentration",
    "EmbeddingScores",
    "MarginalScores",
    "PrincipalComponents",
    "ReliabilityBins",
    "RetrievalRows",
    "RetrievalScores",
    "ShotScore",
    "ShotScores",
    "Thresholds",
    "accuracy",
    "alignment",
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
    "per_class_accuracy",
    "probabilities",
    "reliability_bins",
    "retrieval",
    "rho_spectrum",
    "shot_scores",
    "singular_values",
    "top_k_accuracy",
    "uniformity",
]
