"""Figures over runs: a ranking, Recall@1 against measures of structure, correlations of scores.

After figures 4 and 5 of Roth et al. 2020, https://arxiv.org/abs/2002.08473.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vmf_embeddings.evaluation.figures.style import ACCENT, COLOURS, INK, MUTED, new_figure
from vmf_embeddings.evaluation.summary.correlation import FEWEST, line, matrix, pearson, values
from vmf_embeddings.evaluation.summary.runs import Run, recipes
from vmf_embeddings.evaluation.summary.table import mean_of, short_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STRUCTURE = {
    "rho@1": "spectral decay ρ",
    "rho@2": "ρ, m = 2: without the largest value",
    "pi_ratio": "π = intra / inter",
    "intra": "distance within classes, π intra",
    "inter": "distance between classes, π inter",
    "uniformity_g2": "uniformity G₂",
}
_CORRELATED = {
    "recall@1": "R@1",
    "map@r": "MAP@R",
    "map_at_1000": "mAP@1000",
    "nmi": "NMI",
    "f1": "F1",
    "rho@1": "ρ",
    "rho@2": "ρ, m = 2",
    "intra": "π intra",
    "inter": "π inter",
    "pi_ratio": "π ratio",
    "concentration_relative_variance": "σ²κ / κ²",
    "uniformity_g2": "G₂",
    "alignment": "alignment",
}
_MARKERS = "osD^vPX*"


def draw_ranking(runs: Sequence[Run], title: str) -> "Figure | None":
    """Recall@1 of each recipe, best on top: mean, standard error, and every run as a small point.

    Args:
        runs: of one data set.
        title: of the figure.

    Returns:
        The figure; None for fewer than two recipes with the score.
    """
    groups = {label: own for label, own in recipes(runs).items() if mean_of(own, "recall@1").n}
    if len(groups) < 2:
        return None
    ranked = sorted(groups, key=lambda label: mean_of(groups[label], "recall@1").mean)
    figure = new_figure(7.2, 1.3 + 0.34 * len(ranked))
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK)
    axes = figure.subplots()
    for position, label in enumerate(ranked):
        mean = mean_of(groups[label], "recall@1")
        recall = 100 * values(groups[label], "recall@1")
        axes.plot(recall, [position] * len(recall), "o", color=MUTED, markersize=3.5, alpha=0.6)
        error = 100 * mean.standard_error if mean.n > 1 else None
        axes.errorbar(
            100 * mean.mean, position, xerr=error, fmt="o", color=ACCENT, markersize=7, capsize=4
        )
    axes.set_yticks(range(len(ranked)), short_labels(ranked, 34), color=INK)
    axes.margins(y=0.5 / len(ranked))
    axes.set_xlabel("Recall@1 %")
    note = "mean ± standard error (none for n = 1); small points are single runs"
    figure.supxlabel(note, x=0.01, ha="left", fontsize=9, color=MUTED)
    return figure


def draw_structure(runs: Sequence[Run], title: str) -> "Figure | None":
    """Recall@1 over each measure of structure: a point per run, Pearson's r, the fitted line.

    Args:
        runs: of one data set.
        title: of the figure.

    Returns:
        The figure; None where fewer than three runs have any of the measures.
    """
    recall = 100 * values(runs, "recall@1")
    shown = {
        n: label for n, label in _STRUCTURE.items() if _n_pairs(values(runs, n), recall) >= FEWEST
    }
    if not shown:
        return None
    n_columns = min(3, len(shown))
    n_rows = math.ceil(len(shown) / n_columns)
    groups = recipes(runs)
    n_legend_rows = math.ceil(len(groups) / 3)
    figure = new_figure(3.6 * n_columns + 0.4, 3.1 * n_rows + 0.9 + 0.22 * n_legend_rows)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK)
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(shown) :]:
        axes.set_axis_off()
    for axes, (name, label) in zip(grid.flat, shown.items(), strict=False):
        _draw_panel(axes, groups, name)
        axes.set_xlabel(label)
        _draw_line(axes, values(runs, name), recall)
    margin = 0.06 * max(1, np.nanmax(recall) - np.nanmin(recall))
    grid[0, 0].set_ylim(np.nanmin(recall) - margin, np.nanmax(recall) + margin)
    for axes in grid[:, 0]:
        axes.set_ylabel("Recall@1 %")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=3, fontsize=9)
    return figure


def _n_pairs(x: np.ndarray, y: np.ndarray) -> int:
    return int((~(np.isnan(x) | np.isnan(y))).sum())


def _draw_panel(axes: "Axes", groups: dict[str, list[Run]], name: str) -> None:
    """Points of the runs, with one colour and marker for each recipe."""
    labels = short_labels(list(groups), 34)
    for number, (label, runs) in enumerate(zip(labels, groups.values(), strict=True)):
        axes.plot(
            values(runs, name), 100 * values(runs, "recall@1"), linestyle="",
            marker=_MARKERS[number // len(COLOURS) % len(_MARKERS)], markersize=7,
            color=COLOURS[number % len(COLOURS)], markeredgecolor="white", markeredgewidth=0.7,
            label=label, zorder=3,
        )  # fmt: skip


def _draw_line(axes: "Axes", x: np.ndarray, y: np.ndarray) -> None:
    """The least-squares line, and Pearson's r as the panel's title."""
    r = pearson(x, y)
    if math.isnan(r):
        axes.set_title("r is undefined", fontsize=10, color=MUTED, fontweight="normal")
        return
    ends = np.array([np.nanmin(x), np.nanmax(x)])
    slope, start = line(x, y)
    axes.plot(ends, start + slope * ends, color=MUTED, linewidth=1.4, linestyle="--", zorder=2)
    axes.set_title(f"r = {r:+.2f}".replace("-", "−"), fontsize=10)


def draw_correlations(runs: Sequence[Run], title: str) -> "Figure | None":
    """Pearson's r of every pair of scores, as a coloured triangular matrix.

    Args:
        runs: of one data set.
        title: of the figure.

    Returns:
        The figure; None where no two scores correlate over three runs.
    """
    found = matrix(runs, list(_CORRELATED))
    known = ~np.isnan(np.diagonal(found))
    if known.sum() < 2:
        return None
    found = found[np.ix_(known, known)]
    names = [name for name, is_known in zip(_CORRELATED.values(), known, strict=True) if is_known]
    side = 0.52 * len(names)
    figure = new_figure(side + 2.6, side + 1.7)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK)
    axes = figure.subplots()
    hidden = np.triu(np.ones_like(found, dtype=bool))
    image = axes.imshow(np.where(hidden, np.nan, found)[1:, :-1], cmap="RdBu_r", vmin=-1, vmax=1)
    _write_values(axes, found)
    axes.set_xticks(range(len(names) - 1), names[:-1], rotation=40, ha="right", color=INK)
    axes.set_yticks(range(len(names) - 1), names[1:], color=INK)
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02, label="Pearson's r")
    bar.outline.set_visible(False)
    return figure


def _write_values(axes: "Axes", found: np.ndarray) -> None:
    """Writes each r below the diagonal into its cell."""
    for row in range(1, len(found)):
        for column in range(row):
            r = found[row, column]
            text = "–" if math.isnan(r) else f"{r:.2f}".replace("0.", ".").replace("-", "−")
            axes.text(
                column, row - 1, text, ha="center", va="center", fontsize=8.5,
                color="white" if abs(r) > 0.65 else INK,
            )  # fmt: skip
