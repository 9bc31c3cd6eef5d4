"""Scores as functions of arrays; `evaluate` computes all those of metric learning in one call."""

from vmf_embeddings.metrics.agreement import Agreement, cluster_agreement
from vmf_embeddings.metrics.binary import (
    Roc,
    auroc,
    auroc_influence,
    average_precision,
    fpr_at_tpr,
    roc,
    weighted_auroc,
)
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
from vmf_embeddings.metrics.classwise_calibration import classwise_calibration_errors
from vmf_embeddings.metrics.clustering import ClusterScores, cluster_scores, kmeans
from vmf_embeddings.metrics.confidence import logit_confidences
from vmf_embeddings.metrics.corruption import (
    share_less_confident,
    spearman_per_row,
    spearman_pooled,
    weighted_spearman_pooled,
)
from vmf_embeddings.metrics.embedding_scores import EmbeddingScores, evaluate
from vmf_embeddings.metrics.marginal_retrieval import MarginalScores, marginal_retrieval
from vmf_embeddings.metrics.multiple_comparisons import holm
from vmf_embeddings.metrics.ood import ClassGaussians, ClassMeans, kth_neighbour
from vmf_embeddings.metrics.opis import Opis, opis
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
from vmf_embeddings.metrics.ranking import RankingAt
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
from vmf_embeddings.metrics.selective import RiskCoverage, risk_coverage, weighted_aurc
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
from vmf_embeddings.metrics.standard_errors import (
    error_of_ratio,
    error_over_classes,
    error_over_rows,
    interval_95,
    p_of_zero,
    wilson_95,
)
from vmf_embeddings.metrics.t_tests import MeanTest, paired_t, t_interval, welch
from vmf_embeddings.metrics.verification import (
    BestThreshold,
    Folds,
    TarAtFar,
    best_threshold,
    equal_error_rate,
    fold_accuracy,
    similarity_histogram,
    tar_at_far,
)
from vmf_embeddings.metrics.weighted_calibration import WeightedCalibrationError
from vmf_embeddings.metrics.weighted_classes import WeightedMacroF1
from vmf_embeddings.metrics.weighted_risk import weighted_risk

__all__ = [
    "Agreement",
    "BestThreshold",
    "ChanceError",
    "ClassDistances",
    "ClassGaussians",
    "ClassMeans",
    "ClusterScores",
    "Concentration",
    "EmbeddingScores",
    "Folds",
    "MarginalScores",
    "MeanTest",
    "Opis",
    "PrincipalComponents",
    "RankingAt",
    "ReliabilityBins",
    "RetrievalRows",
    "RetrievalScores",
    "RiskCoverage",
    "Roc",
    "ShotScore",
    "ShotScores",
    "Signs",
    "TarAtFar",
    "Temperature",
    "Thresholds",
    "VectorScaling",
    "WeightedCalibrationError",
    "WeightedMacroF1",
    "accuracy",
    "alignment",
    "auroc",
    "auroc_influence",
    "average_precision",
    "best_threshold",
    "bootstrap",
    "brier_score",
    "choose_tau",
    "class_distances",
    "class_recall",
    "classwise_calibration_errors",
    "cluster_agreement",
    "cluster_scores",
    "concentration",
    "concentrations",
    "confidence_gap",
    "debiased_squared_error",
    "equal_error_rate",
    "error_if_calibrated",
    "error_of_ratio",
    "error_over_classes",
    "error_over_rows",
    "estimated_prior",
    "evaluate",
    "expected_calibration_error",
    "expected_error_if_calibrated",
    "fit_temperature",
    "fit_vector_scaling",
    "fold_accuracy",
    "fpr_at_tpr",
    "holm",
    "interval_95",
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
    "opis",
    "p_of_zero",
    "paired_t",
    "per_class_accuracy",
    "percentile_interval",
    "predictions",
    "probabilities",
    "recall_means",
    "reliability_bins",
    "retrieval",
    "rho_spectrum",
    "risk_coverage",
    "roc",
    "share_less_confident",
    "shot_scores",
    "sign_flip_p",
    "signs",
    "similarity_histogram",
    "singular_values",
    "smooth_calibration_error",
    "smooth_calibration_error_at",
    "spearman_per_row",
    "spearman_pooled",
    "t_interval",
    "tar_at_far",
    "top_k_accuracy",
    "uniformity",
    "weighted_aurc",
    "weighted_auroc",
    "weighted_class_mean",
    "weighted_mean",
    "weighted_risk",
    "weighted_spearman_pooled",
    "welch",
    "wilson_95",
]
