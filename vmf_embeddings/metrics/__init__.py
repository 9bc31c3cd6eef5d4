"""Scores: arrays in, floats out. Retrieval, classification, groups of classes, calibration."""

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
from vmf_embeddings.metrics.marginal_retrieval import MarginalScores, marginal_retrieval
from vmf_embeddings.metrics.retrieval import RetrievalRows, RetrievalScores, retrieval
from vmf_embeddings.metrics.shots import ShotScore, ShotScores, Thresholds, shot_scores

__all__ = [
    "MarginalScores",
    "ReliabilityBins",
    "RetrievalRows",
    "RetrievalScores",
    "ShotScore",
    "ShotScores",
    "Thresholds",
    "accuracy",
    "brier_score",
    "expected_calibration_error",
    "macro_accuracy",
    "macro_f1",
    "marginal_retrieval",
    "negative_log_likelihood",
    "per_class_accuracy",
    "probabilities",
    "reliability_bins",
    "retrieval",
    "shot_scores",
    "top_k_accuracy",
]
