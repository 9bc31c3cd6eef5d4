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
from vmf_embeddings.metrics.marginal_retrieval import MarginalScores, marginal_retrieval
from vmf_embeddings.metrics.retrieval import RetrievalRows, RetrievalScores, retrieval

__all__ = [
    "MarginalScores",
    "ReliabilityBins",
    "RetrievalRows",
    "RetrievalScores",
    "accuracy",
    "brier_score",
    "expected_calibration_error",
    "marginal_retrieval",
    "negative_log_likelihood",
    "probabilities",
    "reliability_bins",
    "retrieval",
]
