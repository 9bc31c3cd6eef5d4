"""Legends below the axes, in as many columns as fit, and names beside points without overlap."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vmf_embeddings.evaluation.figures.style import INK, MUTED
from vmf_embeddings.evaluation.figures.text import text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

_HANDLE = 0.42  # inches that a handle and the space between two columns take
_ROW = 1.45  # height of a row of a legend in units of its font size
_NAME_SIZE = 9  # points
_GAP = 0.05  # inches between names side by side
# where a name may stand: distance from its point in points, and directions, the best first
_DISTANCES = (7, 14, 24)
_DIRECTIONS = np.array(
    [[0, 1], [0, -1], [1, 0], [-1, 0], [1, 1], [-1, 1], [1, -1], [-1, -1]], dtype=float
)
_UNIT_DIRECTIONS = _DIRECTIONS / np.linalg.norm(_DIRECTIONS, axis=1, keepdims=True)
# in units of a covered point: a name farther out by one step, or on a side at right angles
_FARTHER_COSTS, _TURN_COSTS = 0.4, 0.15


def add_legend_below(
    figure: "Figure", handles: Sequence, labels: Sequence[str], size: float = 9
) -> "Legend | None":
    """Adds a legend below the axes, as wide as the figure at most; the figure grows by its rows.

    Args:
        figure: without a legend yet.
        handles: artists.
        labels: their names, drawn as they are, also those that begin with an underscore.
        size: of the font, points.
    """
    if not handles:
        return None
    widest = max(text_width(label, size) for label in labels)
    n_fitting = int(0.98 * figure.get_figwidth() / (widest + _HANDLE))
    n_columns = min(max(1, n_fitting), len(labels))
    n_rows = -(-len(labels) // n_columns)
    figure.set_figheight(figure.get_figheight() + (n_rows - 1) * _ROW * size / 72)
    # matplotlib leaves out labels that begin with an underscore
    hidden = [f"\u200b{label}" if label.startswith("_") else label for label in labels]
    legend = figure.legend(
        handles, hidden, loc="outside lower center", ncols=n_columns, fontsize=size,
        handletextpad=0.3, columnspacing=1.2, labelspacing=0.35, borderaxespad=0.4,
    )  # fmt: skip
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)
    return legend


def write_names(
    axes: "Axes",
    names: Sequence[str],
    points: np.ndarray,
    *,
    size: float = _NAME_SIZE,
    others: np.ndarray | None = None,
    towards: np.ndarray | None = None,
) -> list[int]:
    """Writes names beside points where they cover neither one another nor leave the figure.

    Call it last: where names may stand depends on all else in the figure.

    Args:
        axes: whose data coordinates are those of the points.
        names: [C].
        points: [C, 2], the important first: a name without room is left out.
        size: of the font, points.
        others: [K, 2] further points that a name should rather not cover; None = `points`.
        towards: [C, 2] unit vectors: the side on which each name should rather stand; None = above.

    Returns:
        The places of the names that were written.
    """
    from matplotlib.patheffects import withStroke

    figure = axes.get_figure(root=True)
    figure.draw_without_rendering()  # places the axes
    per_point = figure.dpi / 72
    anchors = axes.transData.transform(points)
    avoided = anchors if others is None else axes.transData.transform(others)
    occupied = _occupied(figure)
    written = []
    sides = np.tile([0.0, 1.0], (len(points), 1)) if towards is None else towards
    for number, (name, anchor) in enumerate(zip(names, anchors, strict=True)):
        extent = np.array([text_width(name, size, "bold") + _GAP, 1.25 * size / 72]) * figure.dpi
        boxes, centres, costs = _candidates(anchor, extent, per_point)
        costs = costs + _n_inside(boxes, avoided, margin=3 * per_point)
        turn = 1 - _UNIT_DIRECTIONS @ sides[number]  # 1 - cosine of the angle, 0 to 2
        costs = costs + np.tile(_TURN_COSTS * turn, len(_DISTANCES))
        free = _inside(boxes, figure) & ~_overlap(boxes, occupied).any(1)
        if not free.any():
            continue
        best = np.where(free, costs, np.inf).argmin()
        occupied = np.concatenate([occupied, boxes[best : best + 1]])
        offset = (centres[best] - anchor) / per_point
        axes.annotate(
            name, points[number], xytext=offset, textcoords="offset points", ha="center",
            va="center", fontsize=size, fontweight="bold", color=INK, zorder=6,
            annotation_clip=False,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            arrowprops=_leader(best // len(_DIRECTIONS)),
        ).set_in_layout(False)  # fmt: skip
        written.append(number)
    return written


def _leader(step: int) -> dict | None:
    """The line from a name to its point; none for step 0, where the name stands close to it."""
    if step == 0:
        return None
    return {"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2}


def _candidates(
    anchor: np.ndarray, extent: np.ndarray, per_point: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes [M, 4] (left, bottom, right, top), centres [M, 2] and costs [M], in pixels."""
    steps = np.repeat(np.arange(len(_DISTANCES)), len(_DIRECTIONS))
    directions = np.tile(_DIRECTIONS, (len(_DISTANCES), 1))
    away = np.array(_DISTANCES)[steps, None] * per_point
    centres = anchor + directions * (away + extent / 2)
    boxes = np.concatenate([centres - extent / 2, centres + extent / 2], axis=1)
    return boxes, centres, _FARTHER_COSTS * steps


def _occupied(figure: "Figure") -> np.ndarray:
    """Boxes [K, 4] of titles, legends and names that the figure has already."""
    from matplotlib.text import Text

    titles = [figure._suptitle, *(axes.title for axes in figure.axes)]
    texts = [title for title in titles if title is not None and title.get_text()]
    texts += [text for axes in figure.axes for text in axes.texts]
    # the extent of an annotation would include its line
    boxes = [Text.get_window_extent(text).extents for text in texts]
    boxes += [legend.get_window_extent().extents for legend in figure.legends]
    return np.array(boxes, dtype=float).reshape(-1, 4)


def _inside(boxes: np.ndarray, figure: "Figure") -> np.ndarray:
    """Whether boxes [M, 4] lie in the figure, two pixels from its edges at least."""
    width, height = figure.bbox.width, figure.bbox.height
    return (boxes[:, :2] >= 2).all(1) & (boxes[:, 2] <= width - 2) & (boxes[:, 3] <= height - 2)


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether each of boxes [M, 4] overlaps each of others [K, 4]."""
    first, second = boxes[:, None], others[None]
    return ((first[..., :2] < second[..., 2:]) & (second[..., :2] < first[..., 2:])).all(-1)


def _n_inside(boxes: np.ndarray, points: np.ndarray, margin: float) -> np.ndarray:
    """How many of points [K, 2] each of boxes [M, 4] covers, or nearly."""
    low, high = boxes[:, None, :2] - margin, boxes[:, None, 2:] + margin
    return ((low <= points) & (points <= high)).all(-1).sum(1)
