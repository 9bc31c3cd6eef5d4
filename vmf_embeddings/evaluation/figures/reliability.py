"""The reliability diagram: accuracy of predictions as a function of their confidence."""

from typing import TYPE_CHECKING

from torch import Tensor

from vmf_embeddings.evaluation.figures.style import ACCENT, MUTED, SECOND, new_figure
from vmf_embeddings.evaluation.figures.text import add_title
from vmf_embeddings.metrics import expected_calibration_error, reliability_bins

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_N_BINS = 15


def draw_reliability(confidence: Tensor, correct: Tensor, title: str) -> "Figure":
    """Accuracy over confidence in 15 bins of equal mass, above a histogram of confidence.

    Args:
        confidence: [N] largest predicted probability.
        correct: [N] whether the prediction was correct.
        title: of the figure; the calibration errors are added below it.
    """
    l2 = expected_calibration_error(confidence, correct, norm=2, binning="equal_mass")
    l1 = expected_calibration_error(confidence, correct)
    figure = new_figure(5.4, 6.4)
    top, bottom = figure.subplots(2, 1, height_ratios=(3.2, 1))
    add_title(figure, title)
    top.set_title(f"ECE {l2:.4f} (L2, equal-mass)   {l1:.4f} (L1, equal-width)", fontsize=10)
    _draw_bins(top, confidence, correct)
    _draw_histogram(bottom, confidence, correct)
    for axes in (top, bottom):
        axes.set_xlim(_lowest(confidence), 1.0)
    figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    return figure


def _lowest(confidence: Tensor) -> float:
    """Left end of the confidence axis: the lowest confidence, rounded down to a tenth, <= 0.9."""
    return max(0.0, min(0.9, float((confidence.min() * 10).floor()) / 10))


def _draw_bins(axes: "Axes", confidence: Tensor, correct: Tensor) -> None:
    bins = reliability_bins(confidence, correct, _N_BINS, "equal_mass")
    low = _lowest(confidence)
    axes.plot([low, 1], [low, 1], color=MUTED, linewidth=1, linestyle="--", label="perfect")
    gaps = axes.vlines(
        bins.confidence, bins.confidence, bins.accuracy, color=SECOND, linewidth=3, alpha=0.55
    )
    gaps.set_label("gap")
    name = f"{len(bins.count)} bins of equal mass"
    axes.plot(
        bins.confidence, bins.accuracy, "o-", color=ACCENT, linewidth=1.5, markersize=6, label=name
    )
    axes.set_ylabel("accuracy")
    floor = min(low, float(bins.accuracy.min()))
    axes.set_ylim(floor - 0.03, 1.03)


def _draw_histogram(axes: "Axes", confidence: Tensor, correct: Tensor) -> None:
    low = _lowest(confidence)
    right = correct.bool()
    axes.hist(
        [confidence[right].numpy(), confidence[~right].numpy()],
        bins=30,
        range=(low, 1.0),
        stacked=True,
        color=[ACCENT, SECOND],
        label=["correct", "wrong"],
    )
    axes.set_xlabel("confidence")
    axes.set_ylabel("predictions")
