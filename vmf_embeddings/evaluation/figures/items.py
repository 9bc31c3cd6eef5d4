"""The points of an embedding map, their classes, and how classes are coloured and named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vmf_embeddings.evaluation.figures.style import (
    INK,
    MOST_NAMED_CLASSES,
    class_colours,
    class_labels,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
        """Colour [C, 4] of each class."""
        return class_colours(len(self.classes))

    @property
    def names(self) -> list[str] | None:
        """Names of the classes; None where there are more than ten, whose colours look alike."""
        if len(self.classes) > MOST_NAMED_CLASSES:
            return None
        return [shorten(n) for n in class_labels(self.classes.tolist(), self.class_names)]

    @property
    def point_size(self) -> float:
        """Area of a point, 4 to 24 points squared: larger if there are few."""
        return float(np.clip(9000 / max(len(self.rows), 1), 4, 24))

    def class_means(self, rows: np.ndarray) -> np.ndarray:
        """Mean [C, D] of the rows [N, D] of each class."""
        sums = np.zeros((len(self.classes), rows.shape[1]))
        np.add.at(sums, self.numbers, rows)
        counts = np.bincount(self.numbers, minlength=len(self.classes))
        return sums / np.maximum(counts, 1)[:, None]

    def subtitle(self, text: str) -> str:
        """The title, and a second line: how many rows and classes are shown, then `text`."""
        shown = len(self.rows)
        some = "" if shown == self.n_rows else f"{shown} of {self.n_rows} items, "
        n_seen, n_all = len(np.unique(self.numbers)), len(self.classes)
        seen = f"{n_all}" if n_seen == n_all else f"{n_seen} of {n_all}"
        return f"{self.title}\n{some}{seen} classes; {text}"


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows [.., D] scaled to unit length; a row of zeros stays."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def add_title(figure: "Figure", text: str) -> None:
    """Puts the title at the upper left of the figure."""
    figure.suptitle(text, x=0.02, ha="left", fontsize=11, color=INK)


def add_legend(figure: "Figure", items: Items, marks: Sequence = ()) -> None:
    """Adds a legend of the classes, if there are at most ten, and of further marks."""
    from matplotlib.lines import Line2D

    names = items.names or []
    dots = [
        Line2D([], [], marker="o", linestyle="", markersize=7, color=colour, label=name)
        for name, colour in zip(names, items.colours, strict=False)
    ]
    handles = [*dots, *marks]
    if handles:
        columns = min(len(handles), 6)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=9,
                      handletextpad=0.3, columnspacing=1.2)  # fmt: skip


def write_name(axes: "Axes", name: str, position: np.ndarray, **options: object) -> None:
    """Writes a class name at a position, with a white outline to be readable over points."""
    from matplotlib.patheffects import withStroke

    axes.text(
        *position[:2], name, ha="center", va="center", fontsize=9, fontweight="bold", color=INK,
        path_effects=[withStroke(linewidth=2.5, foreground="white")], zorder=6, **options,
    )  # fmt: skip
