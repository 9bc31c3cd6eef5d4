"""The figure of a t-SNE map of embeddings with many dimensions."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from vmf_embeddings.evaluation.figures.items import (
    Items,
    add_legend,
    draw_points,
    name_classes,
)
from vmf_embeddings.evaluation.figures.style import new_figure
from vmf_embeddings.evaluation.figures.text import add_title
from vmf_embeddings.evaluation.map_positions import MOST_TSNE_ROWS, tsne_positions
from vmf_embeddings.geometry import Geometry
from vmf_embeddings.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONG_FROM = 1000  # rows, from which t-SNE takes seconds


def draw_tsne(items: Items, geometry: Geometry, seed: int) -> "Figure":
    """t-SNE of at most 2000 rows [N, D], of their directions where the geometry compares these.

    Args:
        items: the points.
        geometry: by which the rows are compared.
        seed: of t-SNE.
    """
    n_shown = min(MOST_TSNE_ROWS, len(items.rows))
    items = dataclasses.replace(items, rows=items.rows[:n_shown], numbers=items.numbers[:n_shown])
    n_rows, dim = items.rows.shape
    with Progress(f"t-SNE of {n_rows:,} rows in {dim:,} dimensions", at_once=n_rows > _LONG_FROM):
        rows = items.directions if geometry.faiss_metric == "ip" else items.rows
        positions = tsne_positions(rows, geometry, seed)
    figure = new_figure(7.2, 7.4)
    add_title(figure, items.title, items.caption("t-SNE: only near neighbours are meaningful"), 11)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_aspect("equal")
    draw_points(axes, items, positions, 0.7, np.full(len(positions), True))
    add_legend(figure, items)
    centres = np.full((len(items.classes), 2), np.nan)
    for number in items.shown:
        centres[number] = np.median(positions[items.numbers == number], axis=0)
    name_classes(axes, items, centres, items.shown)
    return figure
