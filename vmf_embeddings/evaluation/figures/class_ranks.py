"""Accuracy of every class, by the number of its training images, most first."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vmf_embeddings.evaluation.figures.legends import add_legend_below
from vmf_embeddings.evaluation.figures.style import COLOURS, INK, MUTED, new_figure
from vmf_embeddings.evaluation.figures.text import add_title, class_labels, columns, text_width
from vmf_embeddings.evaluation.figures.worst_classes import draw_worst_classes, worst_classes
from vmf_embeddings.metrics import ShotScores
from vmf_embeddings.metrics.shots import GROUPS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NAMED = 30
_COLOUR = dict(zip(GROUPS, (COLOURS[0], COLOURS[4], COLOURS[6]), strict=True))
_BAR_COLOUR = "#e9ecef"
_AXES_WIDTH = 8.0  # inches at least, of a figure of 9.6
_WORST_WIDTH = 4.4  # inches that the classes of the lowest accuracy add
_TOP = 114  # percent: leaves space above 100 for the names of the groups


def draw_class_ranks(shots: ShotScores, title: str, names: Mapping[int, str] | None) -> "Figure":
    """Accuracy over class rank, means of the shot groups, and numbers of training images as bars.

    Beside more than 30 classes, which have no names below the axis, stand the lowest by name.

    Args:
        shots: accuracy and training images per class and group.
        title: of the figure.
        names: class label -> name, or None.
    """
    order = shots.train_counts.argsort(descending=True, stable=True).numpy()
    worst = worst_classes(shots) if len(order) > MOST_NAMED else order[:0]
    if len(worst):
        figure = new_figure(9.6 + _WORST_WIDTH, 5.0)
        axes, beside = figure.subplots(1, 2, width_ratios=(_AXES_WIDTH, 0.4 * _WORST_WIDTH))
        draw_worst_classes(beside, shots, worst, names, _COLOUR)
    else:
        figure = new_figure(9.6, 5.0)
        axes = figure.subplots()
    add_title(figure, title)
    _draw_counts(axes, shots.train_counts.numpy()[order])
    accuracy = 100 * shots.accuracy.numpy()[order]
    _draw_groups(axes, shots, order, accuracy)
    if len(order) > 2 * MOST_NAMED:
        _draw_running_mean(axes, accuracy)
    _label(axes, order, names)
    _add_legend(figure, axes)
    return figure


def _add_legend(figure: "Figure", axes: "Axes") -> None:
    """Puts the legend below the axes, with points of one size whatever it is in the plot."""
    handles, labels = axes.get_legend_handles_labels()
    legend = add_legend_below(figure, handles, labels)
    for handle in legend.legend_handles if legend else ():
        handle.set(markersize=7, alpha=1)


def _draw_counts(axes: "Axes", counts: np.ndarray) -> None:
    """Draws training images per class [C], in rank order, as bars with an axis on the right."""
    bars = axes.twinx()
    axes.set_zorder(bars.get_zorder() + 1)
    axes.patch.set_visible(False)
    edges = np.arange(len(counts) + 1) + 0.5
    bars.stairs(counts, edges, fill=True, color=_BAR_COLOUR)
    bars.stairs(counts, edges, color="#c4cad0", linewidth=1)
    bars.grid(False)
    bars.spines["right"].set_visible(True)
    bars.set_ylabel("training images (grey)", color=MUTED)
    bars.set_ylim(0, counts.max() * _TOP / 100)
    if len(counts) <= MOST_NAMED:
        for rank, count in enumerate(counts.tolist(), 1):
            floor = (
                count if count < 0.06 * counts.max() else 0
            )  # above a low bar, to not cross its edge
            bars.annotate(
                f"{count}", (rank, floor), xytext=(0, 3), textcoords="offset points", ha="center",
                va="bottom", fontsize=8, color=MUTED,
            )  # fmt: skip


def _draw_groups(axes: "Axes", shots: ShotScores, order: np.ndarray, accuracy: np.ndarray) -> None:
    """Points [C] in the colours of their groups, and a line and a number at each group's mean."""
    ranks = np.arange(1, len(order) + 1)
    own = np.array(shots.group_names)[order]
    few_classes = len(order) <= MOST_NAMED
    heads: list[tuple[float, str, float]] = []  # where each group is, its name and mean
    ranges = shots.thresholds.ranges()
    for name, score in shots.groups.items():
        chosen = own == name
        axes.plot(
            ranks[chosen], accuracy[chosen], "o", color=_COLOUR[name], linewidth=0,
            markersize=9 if few_classes else np.clip(600 / len(order), 2, 6),
            alpha=1 if few_classes else 0.7, markeredgewidth=0, zorder=3,
            label=f"{name}: {ranges[name]} training images",
        )  # fmt: skip
        if few_classes:
            tested = shots.test_counts.numpy()[order][chosen]
            _draw_error_bars(axes, ranks[chosen], accuracy[chosen], tested, _COLOUR[name])
        first, last = ranks[chosen][[0, -1]]
        mean = 100 * score.accuracy
        axes.hlines(mean, first - 0.5, last + 0.5, color=_COLOUR[name], linewidth=2.5, zorder=4)
        heads.append(((first + last) / 2, name, mean))
        if first > 1:
            axes.axvline(first - 0.5, color=MUTED, linewidth=0.8, linestyle=":", zorder=1)
    _write_means(axes, heads, len(order))


def _write_means(axes: "Axes", heads: Sequence[tuple[float, str, float]], n_classes: int) -> None:
    """Writes name and mean of each group above it; groups of few among many classes move apart."""
    from matplotlib.patheffects import withStroke

    texts = [f"{name}\n{mean:.1f} %" for _, name, mean in heads]
    inch = n_classes / _AXES_WIDTH  # in ranks
    half = [
        0.55 * inch * max(text_width(line, 10, "bold") for line in text.split("\n"))
        for text in texts
    ]
    places = move_apart([place for place, _, _ in heads], half, 0.5, n_classes + 0.5)
    for place, text, (_, name, _) in zip(places, texts, heads, strict=True):
        axes.annotate(
            text, (place, _TOP), ha="center", va="top",
            fontsize=10, fontweight="bold", color=_COLOUR[name], zorder=6,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )  # fmt: skip


def move_apart(
    places: Sequence[float], half: Sequence[float], low: float, high: float
) -> list[float]:
    """Centres of intervals in ascending order, moved until none overlaps, from `low` to `high`.

    Args:
        places: ascending centres.
        half: half the length of each interval; all together fit between `low` and `high`.
        low: of the first interval.
        high: of the last one.

    >>> move_apart([1.0, 1.5, 9.5], [1.0, 1.0, 1.0], 0.0, 10.0)
    [1.0, 3.0, 9.0]
    """
    moved = list(places)
    for number, length in enumerate(half):
        moved[number] = max(moved[number], low + length)
        low = moved[number] + length
    for number, length in reversed(list(enumerate(half))):
        moved[number] = min(moved[number], high - length)
        high = moved[number] - length
    return moved


def _draw_error_bars(
    axes: "Axes", ranks: np.ndarray, accuracy: np.ndarray, tested: np.ndarray, colour: str
) -> None:
    """Binomial standard errors of accuracies [K] in percent, over `tested` test images [K]."""
    error = np.sqrt(accuracy * (100 - accuracy) / np.maximum(tested, 1))
    axes.vlines(ranks, accuracy - error, accuracy + error, color=colour, linewidth=2, alpha=0.45)


def _draw_running_mean(axes: "Axes", accuracy: np.ndarray) -> None:
    """Running mean of accuracies [C] over a tenth of the classes, centred on each rank."""
    window = max(3, len(accuracy) // 10) | 1
    seen = np.isfinite(accuracy)
    kernel = np.ones(window)
    total = np.convolve(np.where(seen, accuracy, 0.0), kernel, mode="same")
    count = np.convolve(seen.astype(float), kernel, mode="same")
    axes.plot(
        np.arange(1, len(accuracy) + 1), total / np.maximum(count, 1), color=INK, linewidth=1.6,
        label=f"running mean of {window} classes", zorder=5,
    )  # fmt: skip


def _label(axes: "Axes", order: np.ndarray, names: Mapping[int, str] | None) -> None:
    axes.set_ylabel("accuracy, %")
    axes.set_ylim(0, _TOP)
    axes.set_yticks(range(0, 101, 20))
    axes.set_xlim(0.5, len(order) + 0.5)
    axes.grid(axis="x", visible=False)
    if len(order) > MOST_NAMED:
        axes.set_xlabel("rank of the class, most training images first")
        return
    labels = class_labels(order.tolist(), names, 16)
    slanted = max(map(columns, labels)) * len(labels) > 105
    axes.set_xticks(
        np.arange(1, len(order) + 1), labels, color=INK,
        rotation=40 if slanted else 0, ha="right" if slanted else "center",
    )  # fmt: skip
    axes.set_xlabel("class, most training images first")
