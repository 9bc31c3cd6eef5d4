"""Reliability before and after scaling, and the gap of each group of predicted classes."""

from typing import TYPE_CHECKING

import numpy as np

from vmf_embeddings.evaluation.figures.style import COLOURS, MARKERS, MUTED, new_figure
from vmf_embeddings.evaluation.figures.text import add_title
from vmf_embeddings.evaluation.score_table import ScoreTable
from vmf_embeddings.metrics.shots import GROUPS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_N_BINS = 15


def draw_calibration(table: ScoreTable, title: str) -> "Figure":
    """Accuracy over confidence in 15 bins of equal width, above the rows of each bin.

    Where training was long-tailed, a second panel has mean confidence minus accuracy by group of
    the predicted class, with the error sqrt(a (1 - a) / n) of the accuracy a of its n rows.

    Args:
        table: of `sections.calibration`.
        title: of the figure.
    """
    names = [row for row in table.rows if "/" not in row]
    groups = [g for g in GROUPS if any(f"{name}/predicted_{g}" in table.rows for name in names)]
    figure = new_figure(10.4 if groups else 5.6, 6.2)
    add_title(figure, title)
    grid = figure.add_gridspec(2, 2 if groups else 1, height_ratios=(3, 1))
    top, bottom = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[1, 0])
    _draw_reliability(top, bottom, table, names)
    if groups:
        _draw_gaps(figure.add_subplot(grid[:, 1]), table, names, groups)
    return figure


def _draw_reliability(top: "Axes", bottom: "Axes", table: ScoreTable, names: list[str]) -> None:
    lowest = min(table.curves[f"{name}/bin_confidence"].min() for name in names)
    low = max(0.0, min(0.9, np.floor(10 * lowest) / 10))
    top.plot([low, 1], [low, 1], color=MUTED, linewidth=1, linestyle="--", label="perfect")
    for name, colour, marker in zip(names, COLOURS, MARKERS, strict=False):
        count, confidence, accuracy = (
            table.curves[f"{name}/bin_{part}"] for part in ("count", "confidence", "accuracy")
        )
        error = table.rows[name]["ece_l1_equal_width"]
        chance = table.rows[name]["ece_if_calibrated"]
        label = f"{name.replace('_', ' ')}: ECE {error:.3f}, by chance {chance:.3f}"
        top.plot(confidence, accuracy, color=colour, marker=marker, markersize=5, label=label)
        places = np.clip(np.ceil(confidence * _N_BINS) - 1, 0, _N_BINS - 1).astype(int)
        rows = np.bincount(places, count, _N_BINS)
        bottom.stairs(rows, np.linspace(0, 1, _N_BINS + 1), color=colour, linewidth=1.6)
    top.set_ylabel("accuracy")
    top.legend(fontsize=8)
    bottom.set_xlabel("confidence, in bins of equal width")
    bottom.set_ylabel("rows")
    for axes in (top, bottom):
        axes.set_xlim(low, 1)


def _draw_gaps(axes: "Axes", table: ScoreTable, names: list[str], groups: list[str]) -> None:
    width = 0.8 / len(names)
    for number, (name, colour) in enumerate(zip(names, COLOURS, strict=False)):
        scores = [table.rows.get(f"{name}/predicted_{group}", {}) for group in groups]
        accuracy, rows, gap = (
            np.array([found.get(key, np.nan) for found in scores])
            for key in ("accuracy", "n_rows", "gap")
        )
        axes.bar(
            np.arange(len(groups)) + (number - (len(names) - 1) / 2) * width, 100 * gap,
            0.92 * width, color=colour, label=name.replace("_", " "),
            yerr=100 * np.sqrt(accuracy * (1 - accuracy) / rows),
            error_kw={"ecolor": MUTED, "elinewidth": 1.2, "capsize": 2},
        )  # fmt: skip
    axes.axhline(0, color=MUTED, linewidth=1)
    counts = [
        f"{table.rows.get(f'{names[0]}/predicted_{group}', {}).get('n_rows', 0):,.0f} rows before"
        for group in groups
    ]
    labels = [f"{group}\n{count}" for group, count in zip(groups, counts, strict=True)]
    axes.set_xticks(range(len(groups)), labels)
    axes.set_title("By training images of the predicted class")
    axes.set_ylabel("mean confidence - accuracy, %: above 0 overconfident")
    axes.legend(fontsize=8)
