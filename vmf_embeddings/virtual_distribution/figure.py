"""Figure of virtual examples: bars per group of classes, and curves over all classes.

As in He, Wu, Wei 2021 (DiVE, https://arxiv.org/abs/2103.15042): the training images, and one
network at several temperatures or several networks.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from vmf_embeddings.evaluation.figures.legends import add_legend_below
from vmf_embeddings.evaluation.figures.style import COLOURS, INK, MUTED, PAPER, new_figure
from vmf_embeddings.evaluation.figures.text import add_title, different_names
from vmf_embeddings.virtual_distribution.distribution import Groups, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# for every ten series, whose colours repeat
_HATCHES, _LINES = (None, "//", "xx"), ("-", "--", ":")
_MOST_MARKERS = 30  # classes; with more of them, markers would overlap


def draw(title: str, groups: Groups, series: Sequence[Series], *, ordered: bool) -> "Figure":
    """Means per group as bars, and below them all classes as curves.

    Args:
        title: of the figure.
        groups: groups of classes; their training images are drawn in gray.
        series: virtual examples, at least one series.
        ordered: True if the series are values of one quantity, drawn from light to dark; False if
            they are unordered, drawn in different colours.
    """
    n_bars = 1 + len(series)
    figure = new_figure(max(8.0, 1.6 + 0.44 * n_bars * len(groups.sizes())), 7.6)
    add_title(figure, title)
    top, bottom = figure.subplots(2, 1, height_ratios=(1.15, 1))
    colours = (
        _shades(len(series)) if ordered else [COLOURS[i % len(COLOURS)] for i in range(len(series))]
    )
    repeats = [0 if ordered else i // len(COLOURS) for i in range(len(series))]
    _draw_bars(top, groups, series, colours, repeats)
    _draw_classes(bottom, groups, series, colours, repeats)
    bars, names = [*top.containers, *top.lines[:1]], ["training images"]
    names += different_names([each.label for each in series], 60)
    add_legend_below(figure, bars, [*names, str(top.lines[0].get_label())])
    return figure


def _shades(n: int) -> list[tuple[float, ...]]:
    """N colours from light to dark blue."""
    from matplotlib import colormaps

    return [tuple(colormaps["GnBu"](x)) for x in np.linspace(0.42, 0.98, n)]


def _draw_bars(
    axes: "Axes",
    groups: Groups,
    series: Sequence[Series],
    colours: Sequence[object],
    repeats: Sequence[int],
) -> None:
    sizes = groups.sizes()
    rows = [(groups.train_counts, "#c3c9cf")]
    rows += [(s.counts, c) for s, c in zip(series, colours, strict=True)]
    width = 0.84 / len(rows)
    for number, (counts, colour) in enumerate(rows):
        means = list(groups.means(counts).values())
        x = np.arange(len(sizes)) - 0.42 + (number + 0.5) * width
        hatch = _HATCHES[[0, *repeats][number] % len(_HATCHES)]
        bars = axes.bar(x, means, 0.92 * width, color=colour, hatch=hatch, edgecolor=PAPER)
        labels = [f"{mean:.0f}" if mean >= 9.95 else f"{mean:.1f}" for mean in means]
        texts = axes.bar_label(bars, labels, padding=2, fontsize=8, color=INK)
        for text in texts:  # readable in front of the dashed line
            text.set_bbox({"facecolor": PAPER, "edgecolor": "none", "pad": 0.6})
    _draw_uniform(axes, groups)
    ranges = groups.thresholds.ranges()
    names = [
        f"{name}-shot: {ranges[name]} images\n{size} class{'es' if size > 1 else ''}"
        for name, size in sizes.items()
    ]
    axes.set_xticks(range(len(sizes)), names, color=INK)
    axes.grid(False, axis="x")
    axes.margins(y=0.12)
    axes.set_ylabel("mean per class")
    axes.set_title("Virtual examples by group of classes")


def _draw_classes(
    axes: "Axes",
    groups: Groups,
    series: Sequence[Series],
    colours: Sequence[object],
    repeats: Sequence[int],
) -> None:
    """Curves over all classes, the most frequent first; training images as steps behind them."""
    order = torch.argsort(groups.train_counts, descending=True, stable=True)
    rank = np.arange(1, len(order) + 1)
    train = groups.train_counts[order].double().numpy()
    edges = np.arange(len(order) + 1) + 0.5
    lowest = min(float(s.counts.min()) for s in series)
    floor = 0.7 * max(min(lowest, train[train > 0].min()), 1e-2)
    axes.set_yscale("log")
    axes.stairs(
        np.maximum(train, floor), edges, baseline=floor, fill=True, color="#dfe3e7", zorder=0.5
    )
    marker = "o" if len(order) <= _MOST_MARKERS else None
    for number, (each, colour) in enumerate(zip(series, colours, strict=True)):
        axes.plot(
            rank, each.counts[order], color=colour, linewidth=1.8, marker=marker, markersize=4,
            linestyle=_LINES[repeats[number] % len(_LINES)],
        )  # fmt: skip
    _draw_uniform(axes, groups)
    _mark_groups(axes, groups)
    axes.set_xlim(0.5, len(order) + 0.5)
    axes.set_ylim(bottom=floor)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("class, the most frequent first")
    axes.set_ylabel("images, log scale")
    axes.set_title("… and class by class")


def _draw_uniform(axes: "Axes", groups: Groups) -> None:
    """A dashed line at N / C, the limit for large temperatures."""
    uniform = float(groups.train_counts.double().mean())
    label = f"uniform: {uniform:.4g} each"
    axes.axhline(uniform, color=MUTED, linewidth=1, linestyle="--", zorder=1.1, label=label)


def _mark_groups(axes: "Axes", groups: Groups) -> None:
    """A dotted line between every two groups."""
    ends = np.cumsum(list(groups.sizes().values()))[:-1]
    for end in ends:
        axes.axvline(end + 0.5, color=MUTED, linewidth=0.8, linestyle=":")
