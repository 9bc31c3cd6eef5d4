"""How far probabilities are from frequencies, before and after scaling fitted on other rows.

Guo et al. 2017, https://arxiv.org/abs/1706.04599 (temperature and vector scaling).
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from vmf_embeddings.evaluation.class_sizes import train_counts
from vmf_embeddings.evaluation.context import Classified, Context
from vmf_embeddings.evaluation.fitting import FittingRows, fitting_rows, notes_on_fit
from vmf_embeddings.evaluation.score_table import ScoreTable, TableText, WeightedScore
from vmf_embeddings.metrics.calibration import (
    Binning,
    expected_calibration_error,
    reliability_bins,
)
from vmf_embeddings.metrics.calibration_chance import error_if_calibrated
from vmf_embeddings.metrics.calibration_errors import (
    confidence_gap,
    debiased_squared_error,
    maximum_calibration_error,
)
from vmf_embeddings.metrics.class_predictions import ClassPredictions
from vmf_embeddings.metrics.classwise_calibration import SortedClass, rows_of_classes
from vmf_embeddings.metrics.resampling import weighted_mean
from vmf_embeddings.metrics.scaling import fit_temperature, fit_vector_scaling
from vmf_embeddings.metrics.shots import GROUPS
from vmf_embeddings.metrics.smooth_calibration import smooth_calibration_error
from vmf_embeddings.metrics.standard_errors import error_over_classes, interval_95
from vmf_embeddings.progress import Progress

BEFORE = "before"
_N_BINS = 15
_CLASSWISE: dict[str, tuple[Binning, float | None]] = {
    "classwise_ece_equal_width": ("equal_width", None),
    "classwise_ece_equal_mass": ("equal_mass", None),
    "thresholded_adaptive_ece": ("equal_mass", 1e-3),
}
_BLOCKS = {
    "predicted": "Rows by the training images of their predicted class",
    "true": "Rows by the training images of their true class, which no prediction can know",
}
TABLE = TableText(
    title="Calibration, before and after scaling fitted on other rows",
    head="logits",
    columns={
        "n_rows": ("rows", 1, 0),
        "accuracy": ("accuracy %", 100, 2),
        "mean_confidence": ("mean p %", 100, 2),
        "gap": ("mean p - accuracy %", 100, 2),
        "nll": ("NLL", 1, 4),
        "brier": ("Brier", 1, 4),
        "ece_l1_equal_width": ("ECE", 1, 4),
        "ece_if_calibrated": ("if calibrated", 1, 4),
        "ece_if_calibrated_low": ("from", 1, 4),
        "ece_if_calibrated_high": ("to", 1, 4),
        "ece_l2_debiased": ("L2 debiased", 1, 4),
        "classwise_ece_equal_width": ("class-wise", 1, 4),
        "smooth_ece": ("smooth", 1, 4),
        "mce": ("largest", 1, 4),
    },
    label=lambda row: row.replace("/predicted_", ", ").replace("/true_", ", ").replace("_", " "),
    block=lambda row: _BLOCKS.get(row.partition("/")[2].partition("_")[0], ""),
    exact=("n_rows", "ece_if_calibrated_low", "ece_if_calibrated_high"),
)


def score(context: Context) -> ScoreTable:
    """Scores the stored logits, and after scaling where there are other rows to fit it on.

    Raises:
        ValueError: the file has no logits of a closed set, or `options.fit_on` cannot be used.
    """
    classified = context.classified
    if classified is None:
        raise ValueError("metrics=calibration needs the logits of a closed set: this file has none")
    table, rows = ScoreTable(), fitting_rows(context)
    table.notes += notes_on_fit(context, rows, "the scaling")
    table.about["fitted_on"] = None if rows is None else rows.name
    table.about["fitted_on_rows"] = None if rows is None else len(rows.labels)
    _score(table, context, BEFORE, classified)
    for name, scaled in _fitted(table, rows).items():
        predicted = classified.predicted.rescaled(scaled)
        _score(table, context, name, replace(classified, predicted=predicted))
    return table


def _fitted(table: ScoreTable, rows: FittingRows | None) -> dict[str, Callable[[Tensor], Tensor]]:
    """Name -> scaling of logits, fitted; what it is goes into `about`."""
    if rows is None:
        return {}
    with Progress(f"Fitting a temperature on {len(rows.labels):,} rows"):
        temperature = fit_temperature(rows.logits, rows.labels)
    table.about["temperature"] = {"value": temperature.value, "settled": temperature.settled}
    found: dict[str, Callable[[Tensor], Tensor]] = {"temperature": temperature}
    if not temperature.settled:
        table.notes.append(
            f"the temperature did not settle: the likelihood of {rows.name} still rises at "
            f"{temperature.value:.3g}, as where all its rows are right"
        )
    try:
        with Progress(f"Fitting vector scaling on {len(rows.labels):,} rows"):
            vector = fit_vector_scaling(rows.logits, rows.labels)
    except ValueError as error:
        table.about["vector_scaling"] = str(error)
        table.notes.append(f"no vector scaling: {error}")
        return found
    table.about["vector_scaling"] = {"settled": vector.settled}
    table.curves["vector_scaling/scale"] = vector.scale.numpy()
    table.curves["vector_scaling/bias"] = vector.bias.numpy()
    if not vector.settled:
        table.notes.append("vector scaling did not settle: its likelihood still rises")
    return {**found, "vector_scaling": vector}


def _score(table: ScoreTable, context: Context, name: str, classified: Classified) -> None:
    """Adds the scores of all rows, and of the rows of each group of classes."""
    labels, predicted = classified.ids, classified.predicted
    confidence, correct = classified.confidence, classified.correct
    classwise = _classwise(predicted)
    squared = debiased_squared_error(confidence, correct)
    low, high = interval_95(
        confidence_gap(confidence, correct),
        error_over_classes(confidence - correct.double(), labels),
        low=-1,
    )
    table.rows[name] = {
        **_of_rows(context, confidence, correct),
        "gap_low": low,
        "gap_high": high,
        "nll": float(predicted.log_losses.mean()) + 0.0,
        "brier": float(predicted.squared_errors.mean()),
        "ece_l1_equal_mass": expected_calibration_error(confidence, correct, binning="equal_mass"),
        "ece_l2_equal_mass": expected_calibration_error(
            confidence, correct, norm=2, binning="equal_mass"
        ),
        "ece_l2_debiased_squared": squared,
        "ece_l2_debiased": max(0.0, squared) ** 0.5,
        **classwise,
        "smooth_ece": smooth_calibration_error(confidence, correct),
        "mce": maximum_calibration_error(confidence, correct),
    }
    bins = reliability_bins(confidence, correct, binning="equal_width")
    for part in ("count", "confidence", "accuracy"):
        table.curves[f"{name}/bin_{part}"] = getattr(bins, part).numpy()
    for score, values in (("nll", predicted.log_losses), ("brier", predicted.squared_errors)):
        table.weighted[f"{name}/{score}"] = _weighted(context, classified, values)
    _score_groups(table, context, name, classified)


def _classwise(predicted: ClassPredictions) -> dict[str, float]:
    """Means over classes of their errors; each class is sorted once for all of them."""
    rows = rows_of_classes(predicted.labels, predicted.n_classes)
    errors = []
    with Progress(f"Calibration of {predicted.n_classes:,} classes"):
        for probability, own in zip(predicted.columns(), rows, strict=True):
            of_class = SortedClass(probability, own)
            errors.append([of_class.error(_N_BINS, *how) for how in _CLASSWISE.values()])
    means = torch.tensor(errors, dtype=torch.float64).nanmean(0)
    return dict(zip(_CLASSWISE, means.tolist(), strict=True))


def _weighted(context: Context, classified: Classified, values: Tensor) -> WeightedScore:
    """The mean of values of the classified rows, as a function of weights of all rows."""
    every = torch.full((len(context.file.ids),), torch.nan, dtype=torch.float64)
    every[torch.from_numpy(classified.rows)] = values
    return weighted_mean(every)


def _of_rows(context: Context, confidence: Tensor, correct: Tensor) -> dict[str, float]:
    """The scores that need confidences and hits alone."""
    generator = torch.Generator().manual_seed(context.options.seed)
    chance = error_if_calibrated(confidence, generator=generator)
    return {
        "n_rows": float(len(confidence)),
        "accuracy": float(correct.double().mean()),
        "mean_confidence": float(confidence.mean()),
        "gap": confidence_gap(confidence, correct),
        "ece_l1_equal_width": expected_calibration_error(confidence, correct),
        "ece_if_calibrated": chance.expected,
        "ece_if_calibrated_low": chance.low,
        "ece_if_calibrated_high": chance.high,
    }


def _score_groups(table: ScoreTable, context: Context, name: str, classified: Classified) -> None:
    """Adds rows of many-, medium- and few-shot classes, by predicted and by true class."""
    counts = train_counts(context.evaluated, classified.predicted.n_classes)
    if counts is None or not context.evaluated.long_tailed:
        return
    groups = context.options.thresholds.group(counts)
    guess, own = classified.predicted.guess, classified.predicted.labels
    for number, group in enumerate(GROUPS):
        of_guess, of_own = groups[guess] == number, groups[own] == number
        confidence, correct = classified.confidence, classified.correct
        if bool(of_guess.any()):
            found = _of_rows(context, confidence[of_guess], correct[of_guess])
            table.rows[f"{name}/predicted_{group}"] = found
        if bool(of_own.any()):
            table.rows[f"{name}/true_{group}"] = {
                "n_rows": float(of_own.sum()),
                "accuracy": float(correct[of_own].double().mean()),
                "mean_confidence": float(confidence[of_own].mean()),
            }
