"""Figures over runs: a ranking, Recall@1 against measures of structure, correlations of scores.

After figures 4 and 5 of Roth et al. 2020, https://arxiv.org/abs/2002.08473.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vmf_embeddings.evaluation.figures.legends import add_legend_below
from vmf_embeddings.evaluation.figures.style import (
    ACCENT,
    COLOURS,
    INK,
    MARKERS,
    MUTED,
    new_figure,
)
from vmf_embeddings.evaluation.figures.text import (
    add_footnote,
    add_title,
    different_names,
    shorten,
    shorten_middle,
)
from vmf_embeddings.evaluation.summary.correlation import FEWEST, line, matrix, pearson, values
from vmf_embeddings.evaluation.summary.runs import Run, recipes
from vmf_embeddings.evaluation.summary.table import half_interval, mean_of, own_score

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
_LONGEST_NAME = 34  # columns of a recipe's name
_MOST_RANKED = 60  # recipes; a figure of more would be too long to look at
_MOST_LARGE_POINTS = 300  # runs
_MOST_TOLD_APART = 50  # recipes by colour and marker, with a legend


def draw_ranking(runs: Sequence[Run], title: str, rank_by: str | None = None) -> "Figure | None":
    """The task's score of each recipe, best on top: mean, 95 % interval, a point for each run.

    Args:
        runs: of one data set.
        title: of the figure.
        rank_by: key of another score to rank by.

    Returns:
        The figure; None for fewer than two recipes with the score.
    """
    score = own_score(runs, rank_by)
    groups = {label: own for label, own in recipes(runs).items() if mean_of(own, score.name).n}
    if len(groups) < 2:
        return None
    ranked = sorted(groups, key=lambda label: mean_of(groups[label], score.name).mean)
    n_all, ranked = len(ranked), ranked[-_MOST_RANKED:]
    figure = new_figure(7.2, 1.3 + 0.34 * len(ranked))
    best = "" if len(ranked) == n_all else f": the best {len(ranked)} of {n_all:,} recipes"
    add_title(figure, title + best)
    axes = figure.subplots()
    for position, label in enumerate(ranked):
        mean = mean_of(groups[label], score.name)
        points = 100 * values(groups[label], score.name)
        axes.plot(points, [position] * len(points), "o", color=MUTED, markersize=3.5, alpha=0.6)
        at, reach = 100 * mean.mean, 100 * half_interval(mean)
        # scores end at 0 and 100, which the interval of two runs may exceed by far
        error = [[min(reach, at)], [min(reach, 100 - at)]] if mean.n > 1 else None
        drawn = [run.intervals[score.name] for run in groups[label] if score.name in run.intervals]
        if len(groups[label]) == 1 and drawn:
            low, high = drawn[0]
            error = [[max(0.0, at - 100 * low)], [max(0.0, 100 * high - at)]]
        axes.errorbar(at, position, xerr=error, fmt="o", color=ACCENT, markersize=7, capsize=4)
    axes.set_yticks(range(len(ranked)), _short_names(ranked), color=INK)
    axes.margins(y=0.5 / len(ranked))
    axes.set_xlabel(f"{score.title} %")
    note = (
        "mean and 95 % interval: over runs; of a single run over rows or classes, where it was "
        "scored with --resample; small points are single runs"
    )
    add_footnote(figure, note)
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
    figure = new_figure(3.6 * n_columns + 0.4, 3.1 * n_rows + 1.1)
    add_title(figure, title)
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
    if len(groups) <= _MOST_TOLD_APART:
        points = [line for line in grid.flat[0].lines if line.get_linestyle() == "None"]
        add_legend_below(figure, points, _short_names(list(groups)))
    return figure


def _short_names(recipes: Sequence[str]) -> list[str]:
    """Different names of at most 34 columns: the ends of names are kept, where runs differ."""
    return different_names(recipes, _LONGEST_NAME, (_shorten_beginning, shorten_middle, shorten))


def _shorten_beginning(text: str, length: int) -> str:
    return shorten(text[::-1], length)[::-1]


def _n_pairs(x: np.ndarray, y: np.ndarray) -> int:
    return int((~(np.isnan(x) | np.isnan(y))).sum())


def _draw_panel(axes: "Axes", groups: dict[str, list[Run]], name: str) -> None:
    """Points of the runs, with a colour and marker for each recipe, or one for all of very many."""
    alike = len(groups) > _MOST_TOLD_APART
    size = 7 if sum(map(len, groups.values())) <= _MOST_LARGE_POINTS else 3.5
    for number, runs in enumerate(groups.values()):
        place = 0 if alike else number
        axes.plot(
            values(runs, name), 100 * values(runs, "recall@1"), linestyle="",
            marker=MARKERS[place // len(COLOURS)], markersize=size,
            color=COLOURS[place % len(COLOURS)], markeredgecolor="white",
            markeredgewidth=size / 10,
            zorder=3,
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
    add_title(figure, title)
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
