"""The points of an embedding map, their classes, and how classes are coloured and named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vmf_embeddings.evaluation.figures.legends import add_legend_below, write_names
from vmf_embeddings.evaluation.figures.style import COLOURS, INK, MARKERS, PAPER
from vmf_embeddings.evaluation.figures.text import class_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# beyond so many classes, colours and markers together repeat, and means hide the points
MOST_MARKED_CLASSES = len(COLOURS) * len(MARKERS)
MOST_IN_LEGEND = 50  # classes; of more, as many as have room are named in the map
MOST_NAMES_BESIDE = 40  # in the map of more classes than that, for it to stay a map


@dataclass(frozen=True)
class Items:
    """Points of an embedding map.

    Args:
        rows: [N, D] projected embeddings.
        numbers: [N] class of each row, 0..C-1 in the order of `classes`.
        classes: [C] class labels of the file, ascending.
        class_names: label -> name, or None.
        weights: [C, D] class weights, or None.
        title: of the figure.
        n_rows: how many rows the file has; more than N where only some are shown.
    """

    rows: np.ndarray
    numbers: np.ndarray
    classes: np.ndarray
    class_names: Mapping[int, str] | None
    weights: np.ndarray | None
    title: str
    n_rows: int

    @property
    def directions(self) -> np.ndarray:
        """Rows [N, D] scaled to unit length."""
        return unit(self.rows)

    @property
    def colours(self) -> np.ndarray:
        """Colour [C, 4] of each class; they repeat after ten classes."""
        from matplotlib.colors import to_rgba_array

        return to_rgba_array(COLOURS)[np.arange(len(self.classes)) % len(COLOURS)]

    @property
    def markers(self) -> list[str]:
        """Marker of each class [C]: another for every ten classes; discs for more than 100."""
        if len(self.classes) > MOST_MARKED_CLASSES:
            return [MARKERS[0]] * len(self.classes)
        return [MARKERS[number // len(COLOURS)] for number in range(len(self.classes))]

    @property
    def names(self) -> list[str]:
        """Names of the classes [C], short and different from one another."""
        return class_labels(self.classes.tolist(), self.class_names)

    @property
    def shown(self) -> np.ndarray:
        """Numbers of the classes that have a row, ascending."""
        return np.unique(self.numbers)

    @property
    def marked(self) -> np.ndarray:
        """Numbers of the classes whose means are marked: those shown, none of more than 100."""
        return self.shown if len(self.shown) <= MOST_MARKED_CLASSES else self.shown[:0]

    @property
    def point_size(self) -> float:
        """Area of a point, points squared: larger if there are few, or if markers tell classes."""
        smallest = 4 if len(set(self.markers)) == 1 else 13
        return float(np.clip(9000 / max(len(self.rows), 1), smallest, 24))

    @property
    def mark_size(self) -> float:
        """Area of the mark of a mean, points squared: smaller if there are many."""
        return float(np.clip(900 / max(len(self.marked), 1), 16, 64))

    def class_means(self, rows: np.ndarray) -> np.ndarray:
        """Mean [C, D] of the rows [N, D] of each class."""
        sums = np.zeros((len(self.classes), rows.shape[1]))
        np.add.at(sums, self.numbers, rows)
        counts = np.bincount(self.numbers, minlength=len(self.classes))
        return sums / np.maximum(counts, 1)[:, None]

    def caption(self, text: str) -> str:
        """How many rows and classes are shown, then `text`, then what tells classes apart."""
        shown = len(self.rows)
        some = "" if shown == self.n_rows else f"{shown:,} of {self.n_rows:,} items, "
        n_seen, n_all = len(self.shown), len(self.classes)
        seen = f"{n_all:,}" if n_seen == n_all else f"{n_seen:,} of {n_all:,}"
        repeat = "; colours repeat" if n_all > MOST_MARKED_CLASSES else ""
        named = "; names where there is room" if n_all > MOST_IN_LEGEND else ""
        return f"{some}{seen} class{'es' * (n_all > 1)}; {text}{repeat}{named}"


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows [.., D] scaled to unit length; a row of zeros stays."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def draw_points(
    axes: "Axes", items: Items, points: np.ndarray, alpha: float | np.ndarray, which: np.ndarray
) -> None:
    """Draws rows as points [N, 2] in the colours and with the markers of their classes.

    Args:
        axes: where to draw.
        items: their classes.
        points: positions of all rows.
        alpha: opacity, or one [N] for each row.
        which: [N] bool, the rows to draw.
    """
    markers = np.array(items.markers)[items.numbers]
    alpha = np.broadcast_to(alpha, len(points))
    for marker in dict.fromkeys(items.markers):
        own = which & (markers == marker)
        if own.any():  # matplotlib takes no array of alphas without an element
            axes.scatter(
                *points[own].T, c=items.colours[items.numbers[own]], alpha=alpha[own],
                marker=marker, s=items.point_size, linewidths=0, zorder=3,
            )  # fmt: skip


def draw_marks(
    axes: "Axes", items: Items, positions: np.ndarray, which: np.ndarray, marker: str, size: float
) -> None:
    """Draws a mark with a dark edge at the positions [C, 2] of some classes (their numbers)."""
    axes.scatter(
        *positions[which].T, c=items.colours[which], marker=marker, s=size,
        edgecolors=INK, linewidths=1.1, zorder=5,
    )  # fmt: skip


def add_legend(figure: "Figure", items: Items, marks: Sequence["Line2D"] = ()) -> None:
    """Adds a legend of the classes that are shown, for at most 50 classes, and of marks."""
    from matplotlib.lines import Line2D

    named = items.shown if len(items.classes) <= MOST_IN_LEGEND else items.shown[:0]
    names, colours, markers = items.names, items.colours, items.markers
    dots = [
        Line2D([], [], marker=markers[n], linestyle="", markersize=6.5, color=colours[n])
        for n in named
    ]
    labels = [*(names[n] for n in named), *(str(mark.get_label()) for mark in marks)]
    add_legend_below(figure, [*dots, *marks], labels, 9 if len(labels) <= 20 else 8)


def direction_marks(items: Items) -> list["Line2D"]:
    """The legend's entries for the marks of mean directions and of class weights."""
    labels = {"o": "mean direction of a class"}
    if items.weights is not None:
        labels["D"] = "direction of its weight"
    return [_legend_mark(m, label) for m, label in labels.items() if len(items.marked)]


def _legend_mark(marker: str, label: str) -> "Line2D":
    from matplotlib.lines import Line2D

    return Line2D([], [], marker=marker, linestyle="", markersize=7, label=label,
                  markerfacecolor=PAPER, markeredgecolor=INK, markeredgewidth=1.4)  # fmt: skip


def name_classes(
    axes: "Axes",
    items: Items,
    positions: np.ndarray,
    which: np.ndarray,
    towards: np.ndarray | None = None,
) -> None:
    """Writes names beside the positions [C, 2] of some classes (their numbers), as many as fit.

    Where means are not marked, those of the named classes are. `towards` [C, 2]: see `write_names`.
    """
    if len(which) > MOST_NAMES_BESIDE and len(items.classes) > MOST_IN_LEGEND:
        # every n-th: the order of classes is often that of their likeness
        which = which[np.linspace(0, len(which) - 1, MOST_NAMES_BESIDE).astype(int)]
    names = items.names
    seen = items.marked if len(items.marked) else which
    written = write_names(
        axes, [names[n] for n in which], positions[which],
        size=9 if len(which) <= 20 else 7.5, others=positions[seen],
        towards=None if towards is None else towards[which],
    )  # fmt: skip
    if not len(items.marked):
        draw_marks(axes, items, positions, which[written], "o", 30)
