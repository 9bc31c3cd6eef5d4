"""Scores: arrays in, floats out. Retrieval, classification, calibration."""

from vmf_embeddings.metrics.calibration import (
    ReliabilityBins,
    expected_calibration_error,
    reliability_bins,
)
from vmf_embeddings.metrics.classification import (
    accuracy,
    brier_score,
    negative_log_likelihood,
    probabilities,
)
from vmf_embeddings.metrics.marginal_retrieval import majority_recall, mean_map_at_r
from vmf_embeddings.metrics.retrieval import RetrievalRows, RetrievalScores, retrieval

__all__ = [
    "ReliabilityBins",
    "RetrievalRows",
    "RetrievalScores",
    "accuracy",
    "brier_score",
    "expected_calibration_error",
    "majority_recall",
    "mean_map_at_r",
    "negative_log_likelihood",
    "probabilities",
    "reliability_bins",
    "retrieval",
]
