"""Verification: the ROC over a logarithmic FAR, and the similarities of both kinds of pairs."""

import math
from typing import TYPE_CHECKING

import numpy as np

from vmf_embeddings.evaluation.figures.style import ACCENT, MUTED, SECOND, new_figure
from vmf_embeddings.evaluation.figures.text import add_title
from vmf_embeddings.evaluation.score_table import ScoreTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_verification(table: ScoreTable, title: str) -> "Figure":
    """The ROC with the FARs of the table as points, beside two histograms of similarity.

    Args:
        table: of `sections.verification`.
        title: of the figure.
    """
    figure = new_figure(10.4, 4.4)
    add_title(figure, title)
    left, right = figure.subplots(1, 2)
    _draw_roc(left, table)
    _draw_similarities(right, table)
    return figure


def _at_far(table: ScoreTable) -> list[dict[str, float]]:
    rows = [row for name, row in table.rows.items() if name.startswith("far=")]
    return [row for row in rows if not math.isnan(row["tar"])]


def _draw_roc(axes: "Axes", table: ScoreTable) -> None:
    far, tar = table.curves["far"], table.curves["tar"]
    shown = far > 0
    axes.plot(100 * far[shown], 100 * tar[shown], color=ACCENT, linewidth=1.8)
    points = [row for row in _at_far(table) if row["far"] > 0]
    axes.plot(
        [100 * row["far"] for row in points], [100 * row["tar"] for row in points], "o",
        color=SECOND, markersize=5, label="TAR at the FARs of the table",
    )  # fmt: skip
    eer = table.rows["all"]["eer"]
    label = f"equal error rate {100 * eer:.2f} %"
    if eer > 0:
        axes.plot([100 * eer], [100 * (1 - eer)], "D", color=MUTED, markersize=6, label=label)
    axes.set_xscale("log")
    axes.set_title(f"ROC, AUC {100 * table.rows['all']['auc']:.3f} %")
    axes.set_xlabel("FAR: pairs of different classes accepted, %")
    axes.set_ylabel("TAR: pairs of one class accepted, %")
    axes.legend(fontsize=8, loc="lower right")


def _draw_similarities(axes: "Axes", table: ScoreTable) -> None:
    edges = table.curves["similarity_edges"]
    for name, colour, label in (
        ("same", ACCENT, "of one class"),
        ("different", SECOND, "of different classes"),
    ):
        counts = table.curves[name].astype(float)
        density = counts / max(1.0, counts.sum()) / np.diff(edges)
        axes.stairs(density, edges, color=colour, fill=True, alpha=0.35)
        axes.stairs(density, edges, color=colour, linewidth=1.4, label=label)
    for row in _at_far(table):
        if math.isclose(row["far"], 1e-3, rel_tol=0.5) and math.isfinite(row["threshold"]):
            axes.axvline(row["threshold"], color=MUTED, linewidth=1, linestyle="--",
                         label=f"threshold at FAR {100 * row['far']:.2g} %")  # fmt: skip
            break
    axes.set_title("Similarity of pairs")
    axes.set_xlabel("similarity")
    axes.set_ylabel("density")
    axes.set_yticks([])
    axes.legend(fontsize=8)
