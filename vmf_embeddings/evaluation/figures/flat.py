"""Two-dimensional embeddings: directions on the circle, or points in the plane or disc."""

from typing import TYPE_CHECKING

import numpy as np

from vmf_embeddings.evaluation.figures.items import (
    Items,
    add_legend,
    direction_marks,
    draw_marks,
    draw_points,
    name_classes,
    unit,
)
from vmf_embeddings.evaluation.figures.style import MUTED, new_figure
from vmf_embeddings.evaluation.figures.text import add_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RING = 0.16  # width of the band over which points are spread at random, to be seen apart


def draw_circle(items: Items) -> "Figure":
    """Directions of rows [N, 2] in a band around the unit circle, class means as radii.

    The distance from the circle within the band is random and has no meaning.
    """
    figure = new_figure(6.8, 7.3)
    add_title(figure, items.title, items.caption("directions on the circle"), 11)
    axes = _square_axes(figure, 1.42)
    angles = np.linspace(0, 2 * np.pi, 361)
    axes.plot(np.cos(angles), np.sin(angles), color=MUTED, linewidth=1)
    spread = 1.02 + _RING * np.random.default_rng(0).random(len(items.rows))
    points = items.directions * spread[:, None]
    draw_points(axes, items, points, 0.6, np.full(len(points), True))
    means = unit(items.class_means(items.directions))
    for number in items.marked:
        tip = means[number]
        axes.plot([0, tip[0]], [0, tip[1]], color=items.colours[number],
                  linewidth=2 if len(items.marked) <= 20 else 1)  # fmt: skip
    draw_marks(axes, items, means, items.marked, "o", items.mark_size)
    if items.weights is not None:
        tips = unit(items.weights) * 0.86
        draw_marks(axes, items, tips, items.marked, "D", 0.65 * items.mark_size)
    add_legend(figure, items, direction_marks(items))
    name_classes(axes, items, means * (1.02 + _RING), items.shown, towards=means)
    return figure


def draw_plane(items: Items, boundary_radius: float | None = None) -> "Figure":
    """Rows [N, 2] as points, class means as discs, and the ball's boundary if it is near.

    Args:
        items: the points.
        boundary_radius: 1 / sqrt(c) of the Poincare ball; None for the whole plane. It is drawn if
            it is less than three times as far from the origin as the farthest coordinate.
    """
    figure = new_figure(6.8, 7.3)
    add_title(figure, items.title, items.caption("the embeddings themselves"), 11)
    half_width = 1.08 * float(np.abs(items.rows).max())
    is_near = boundary_radius is not None and boundary_radius < 3 * half_width
    half_width = (
        max(half_width, 1.02 * boundary_radius) if boundary_radius and is_near else half_width
    )
    axes = _square_axes(figure, half_width)
    axes.axhline(0, color="#e6e9ec", linewidth=0.8, zorder=0)
    axes.axvline(0, color="#e6e9ec", linewidth=0.8, zorder=0)
    if boundary_radius is not None and is_near:
        angles = np.linspace(0, 2 * np.pi, 361)
        axes.plot(
            boundary_radius * np.cos(angles),
            boundary_radius * np.sin(angles),
            color=MUTED,
            linewidth=1.2,
        )
    draw_points(axes, items, items.rows, 0.6, np.full(len(items.rows), True))
    means = items.class_means(items.rows)
    draw_marks(axes, items, means, items.marked, "o", items.mark_size)
    add_legend(figure, items)
    name_classes(axes, items, means, items.shown)
    return figure


def _square_axes(figure: "Figure", half_width: float) -> "Axes":
    axes = figure.subplots()
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_xlim(-half_width, half_width)
    axes.set_ylim(-half_width, half_width)
    return axes
