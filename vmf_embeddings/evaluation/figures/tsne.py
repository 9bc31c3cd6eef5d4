"""A t-SNE map of embeddings with many dimensions (van der Maaten & Hinton, JMLR 9, 2008)."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch

from vmf_embeddings.evaluation.figures.items import (
    Items,
    add_legend,
    draw_points,
    name_classes,
)
from vmf_embeddings.evaluation.figures.style import new_figure
from vmf_embeddings.evaluation.figures.text import add_title
from vmf_embeddings.geometry import Geometry
from vmf_embeddings.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_POINTS = 2000
_LONG_FROM = 1000  # rows, from which t-SNE takes seconds


def draw_tsne(items: Items, geometry: Geometry, seed: int) -> "Figure":
    """t-SNE of at most 2000 rows [N, D].

    Distances between rows: Euclidean between directions where the geometry compares directions, the
    geometry's own where it has one (the Poincare ball), else Euclidean. In the map, distances
    between clusters and their sizes have no meaning.

    Args:
        items: the points.
        geometry: by which the rows are compared.
        seed: of t-SNE.
    """
    n_shown = min(MOST_POINTS, len(items.rows))
    items = dataclasses.replace(items, rows=items.rows[:n_shown], numbers=items.numbers[:n_shown])
    n_rows, dim = items.rows.shape
    with Progress(f"t-SNE of {n_rows:,} rows in {dim:,} dimensions", at_once=n_rows > _LONG_FROM):
        positions = _positions(items, geometry, seed)
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


def _positions(items: Items, geometry: Geometry, seed: int) -> np.ndarray:
    """Positions [N, 2] of the points in the map."""
    from sklearn.manifold import TSNE

    options = {
        "perplexity": min(30, (len(items.rows) - 1) / 3),
        "random_state": seed,
        "max_iter": 500,  # scikit-learn's default is 1000: clusters have settled by half
    }
    distance = getattr(geometry, "distance", None)
    if distance is not None:
        rows = torch.from_numpy(items.rows)
        pairwise = distance(rows, rows).fill_diagonal_(0).numpy()
        return TSNE(metric="precomputed", init="random", **options).fit_transform(pairwise)
    rows = items.directions if geometry.faiss_metric == "ip" else items.rows
    return TSNE(init="pca", **options).fit_transform(rows.astype(np.float32))
