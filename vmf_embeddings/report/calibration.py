"""Reliability of predictions: accuracy against confidence, of every run that has logits."""

from collections.abc import Sequence

import numpy as np

from vmf_embeddings.metrics import expected_calibration_error, reliability_bins
from vmf_embeddings.report.charts import Chart, Line, table_of, thin
from vmf_embeddings.report.run import ReportedRun

_N_BINS = 15


def reliability_charts(runs: Sequence[ReportedRun]) -> list[Chart]:
    """Accuracy over confidence, and how many predictions have which confidence."""
    known = [run for run in runs if run.context.classified is not None]
    if not known:
        return []
    lines, counts, parts = [], [], []
    for run in known:
        classified = run.context.classified
        assert classified is not None
        confidence, correct = classified.confidence, classified.correct
        bins = reliability_bins(confidence, correct, _N_BINS, "equal_mass")
        lines.append(
            Line(run.name, thin(bins.confidence), thin(bins.accuracy), run.number, "marked")
        )
        heights, edges = np.histogram(confidence.numpy(), bins=20, range=(0, 1))
        middles = (edges[:-1] + edges[1:]) / 2
        counts.append(Line(run.name, middles.tolist(), heights.tolist(), run.number, "bars"))
        error = expected_calibration_error(confidence, correct)
        mean = float(confidence.double().mean())
        right = float(correct.double().mean())
        parts.append(
            f"{run.name}: calibration error {error:.4f} (L1, equal-width), mean confidence "
            f"{mean:.3f}, accuracy {right:.3f}"
        )
    low = max(0.0, min(min(line.x) for line in lines) - 0.05)
    diagonal = Line("perfect", [low, 1], [low, 1], -1, "dash")
    summary = f"Accuracy in {_N_BINS} bins of equal mass by confidence. {'; '.join(parts)}."
    bins_table = table_of(
        "reliability-table", "Accuracy by mean confidence of bins", "confidence", lines
    )
    count_table = table_of("confidence-table", "Predictions by confidence", "confidence", counts)
    return [
        Chart("reliability", "Reliability", summary, [*lines, diagonal], "confidence", "accuracy",
              x_range=(low, 1.01), table=bins_table),
        Chart("confidence", "Confidence of predictions", f"Number of predictions by confidence, in "
              f"20 bins. {'; '.join(parts)}.", counts, "confidence", "predictions",
              table=count_table),
    ]  # fmt: skip
