"""Directions of three-dimensional embeddings on the sphere, seen from both sides."""

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

_ANGLES = np.linspace(0, 2 * np.pi, 181)


def draw_sphere(items: Items) -> "Figure":
    """Two orthographic views, front and back, of the directions of rows [N, 3].

    Discs mark the mean direction of each class, diamonds the direction of its weight.
    """
    figure = new_figure(9.6, 5.9)
    add_title(figure, items.title, items.caption("directions on the sphere, both sides"), 11)
    views = figure.subplots(1, 2)
    front = _viewing_frame(items)
    back = front * np.array(
        [[-1.0], [1.0], [-1.0]]
    )  # rotated by 180 degrees about the vertical axis
    for axes, frame, name in zip(views, (front, back), ("front", "back"), strict=True):
        _draw_side(axes, items, frame)
        axes.set_title(name, loc="center", fontweight="normal", fontsize=10, color=MUTED)
    add_legend(figure, items, direction_marks(items))
    means = items.class_means(items.directions)
    for axes, frame in zip(views, (front, back), strict=True):
        seen = unit(means) @ frame.T
        name_classes(axes, items, seen[:, :2], items.shown[seen[items.shown, 2] >= 0])
    return figure


def _viewing_frame(items: Items) -> np.ndarray:
    """Axes right, up, towards the viewer [3, 3]: the view that keeps class means off the rim.

    A class on the rim is cut in half and foreshortened. Of 500 random directions v, the one with
    the largest min over classes of |v . mean| is taken.
    """
    means = unit(items.class_means(items.directions))[items.shown]
    views = unit(np.random.default_rng(0).normal(size=(500, 3)))
    views = views[np.abs(views[:, 2]) < 0.8]  # keeps the poles near the top and bottom
    towards = views[np.abs(views @ means.T).min(1).argmax()]
    right = unit(np.cross([0.0, 0.0, 1.0], towards))
    return np.stack([right, np.cross(towards, right), towards])


def _draw_side(axes: "Axes", items: Items, frame: np.ndarray) -> None:
    """The half of the sphere that faces the viewer."""
    from matplotlib.patches import Circle

    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(-1.08, 1.08)
    axes.set_ylim(-1.08, 1.08)
    _draw_shading(axes)
    _draw_graticule(axes, frame)
    seen = items.directions @ frame.T
    # fade points towards the rim, where foreshortening crowds them
    alpha = 0.35 + 0.45 * seen[:, 2].clip(0, 1)
    draw_points(axes, items, seen[:, :2], alpha, seen[:, 2] >= 0)
    axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=MUTED, linewidth=1.2, zorder=4))
    if items.weights is not None:
        _draw_front(axes, items, unit(items.weights) @ frame.T, "D", 0.65)
    means = unit(items.class_means(items.directions)) @ frame.T
    _draw_front(axes, items, means, "o", 1.0)


def _draw_front(
    axes: "Axes", items: Items, positions: np.ndarray, marker: str, size: float
) -> None:
    """Marks at positions [C, 3] of the classes that are marked and on the viewer's side."""
    which = items.marked[positions[items.marked, 2] >= 0]
    draw_marks(axes, items, positions[:, :2], which, marker, size * items.mark_size)


def _draw_shading(axes: "Axes") -> None:
    """A disc shaded as if lit from the upper left."""
    from matplotlib.colors import LinearSegmentedColormap

    x, y = np.meshgrid(np.linspace(-1, 1, 300), np.linspace(-1, 1, 300))
    inside = x**2 + y**2 <= 1
    z = np.sqrt(np.clip(1 - x**2 - y**2, 0, 1))
    light = np.where(inside, -0.35 * x + 0.45 * y + 0.82 * z, np.nan)
    shades = LinearSegmentedColormap.from_list("ball", ["#dfe4e9", "#fbfcfd"])
    axes.imshow(light, extent=(-1, 1, -1, 1), origin="lower", cmap=shades, zorder=1)


def _draw_graticule(axes: "Axes", frame: np.ndarray) -> None:
    """Circles of latitude and longitude every 30 degrees, their visible halves."""
    for longitude in np.arange(0, np.pi, np.pi / 6):
        meridian = np.stack(
            [
                np.cos(_ANGLES) * np.cos(longitude),
                np.cos(_ANGLES) * np.sin(longitude),
                np.sin(_ANGLES),
            ],
            axis=1,
        )
        _draw_line(axes, meridian @ frame.T)
    for height in np.sin(np.arange(-np.pi / 3, np.pi / 2, np.pi / 6)):
        radius = np.sqrt(1 - height**2)
        parallel = np.stack(
            [radius * np.cos(_ANGLES), radius * np.sin(_ANGLES), np.full_like(_ANGLES, height)],
            axis=1,
        )
        _draw_line(axes, parallel @ frame.T)


def _draw_line(axes: "Axes", line: np.ndarray) -> None:
    hidden = line[:, 2] < 0
    x, y = np.where(hidden, np.nan, line[:, 0]), np.where(hidden, np.nan, line[:, 1])
    axes.plot(x, y, color="#c9d0d6", linewidth=0.6, zorder=2)
