"""Two-dimensional embeddings: directions on the circle, or points in the plane or disc."""

from typing import TYPE_CHECKING

import numpy as np

from vmf_embeddings.evaluation.figures.items import (
    Items,
    add_legend,
    add_title,
    unit,
    write_name,
)
from vmf_embeddings.evaluation.figures.style import INK, MUTED, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RING = 0.16  # width of the band over which points are spread at random, to be seen apart


def draw_circle(items: Items) -> "Figure":
    """Directions of rows [N, 2] in a band around the unit circle, class means as radii.

    The distance from the circle within the band is random and has no meaning.
    """
    figure = new_figure(6.4, 6.9)
    add_title(figure, items.subtitle("directions on the circle"))
    axes = _square_axes(figure, 1.42)
    angles = np.linspace(0, 2 * np.pi, 361)
    axes.plot(np.cos(angles), np.sin(angles), color=MUTED, linewidth=1)
    spread = 1.02 + _RING * np.random.default_rng(0).random(len(items.rows))
    points = items.directions * spread[:, None]
    axes.scatter(
        *points.T, c=items.colours[items.numbers], s=items.point_size, alpha=0.5, linewidths=0
    )
    means = unit(items.class_means(items.directions))
    for mean, colour in zip(means, items.colours, strict=True):
        axes.plot([0, mean[0]], [0, mean[1]], color=colour, linewidth=2, solid_capstyle="round")
    axes.scatter(*means.T, c=items.colours, s=60, edgecolors=INK, linewidths=1.2, zorder=4)
    if items.weights is not None:
        tips = unit(items.weights) * 0.86
        axes.scatter(*tips.T, c=items.colours, s=42, marker="D", edgecolors=INK, zorder=4)
    angles = _spread_apart(np.arctan2(means[:, 1], means[:, 0]))
    for name, angle in zip(items.names or [], angles, strict=False):
        write_name(axes, name, 1.3 * np.array([np.cos(angle), np.sin(angle)]))
    add_legend(figure, items, _marks(items))
    return figure


def draw_plane(items: Items, boundary_radius: float | None = None) -> "Figure":
    """Rows [N, 2] as points, class means as discs, and the ball's boundary if it is near.

    Args:
        items: the points.
        boundary_radius: 1 / sqrt(c) of the Poincare ball; None for the whole plane. It is drawn if
            it is less than three times as far from the origin as the farthest coordinate.
    """
    figure = new_figure(6.4, 6.9)
    add_title(figure, items.subtitle("the embeddings themselves"))
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
    axes.scatter(
        *items.rows.T, c=items.colours[items.numbers], s=items.point_size, alpha=0.5, linewidths=0
    )
    means = items.class_means(items.rows)
    axes.scatter(*means.T, c=items.colours, s=60, edgecolors=INK, linewidths=1.2, zorder=4)
    for name, mean in zip(items.names or [], means, strict=False):
        write_name(axes, name, mean + np.array([0, 0.05 * half_width]))
    add_legend(figure, items)
    return figure


def _spread_apart(angles: np.ndarray, gap: float = 0.14) -> np.ndarray:
    """Angles [C] of labels, moved apart until neighbours are about `gap` radians apart."""
    angles = angles.copy()
    for _ in range(50 if len(angles) * gap < 2 * np.pi else 0):
        order = np.argsort(angles)
        step = np.diff(angles[order], append=angles[order[0]] + 2 * np.pi)
        push = np.clip(gap - step, 0, None) / 2
        angles[order] += np.roll(push, 1) - push
    return angles


def _square_axes(figure: "Figure", half_width: float) -> "Axes":
    axes = figure.subplots()
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_xlim(-half_width, half_width)
    axes.set_ylim(-half_width, half_width)
    return axes


def _marks(items: Items) -> list:
    from matplotlib.lines import Line2D

    style = {"linestyle": "", "markersize": 7, "markerfacecolor": "white", "markeredgecolor": INK}
    marks = [Line2D([], [], marker="o", label="mean direction of a class", **style)]
    if items.weights is not None:
        marks.append(Line2D([], [], marker="D", label="direction of its weight", **style))
    return marks
