"""A t-SNE map of embeddings with many dimensions (van der Maaten & Hinton, JMLR 9, 2008)."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch

from vmf_embeddings.evaluation.figures.items import Items, add_legend, add_title, write_name
from vmf_embeddings.evaluation.figures.style import new_figure
from vmf_embeddings.geometry import Geometry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_POINTS = 2000


def draw_tsne(items: Items, geometry: Geometry, seed: int) -> "Figure":
    """At most 2000 rows [N, D], laid out so that near neighbours stay near.

    Directions are laid out by their chords, rows of the plane by distance, rows of the ball by the
    distance in it. Distances across the map, and the sizes of its islands, have no meaning.

    Args:
        items: the points.
        geometry: how they compare.
        seed: of the layout.
    """
    n_shown = min(MOST_POINTS, len(items.rows))
    items = dataclasses.replace(items, rows=items.rows[:n_shown], numbers=items.numbers[:n_shown])
    places = _lay_out(items, geometry, seed)
    figure = new_figure(7.2, 7.4)
    add_title(figure, items.subtitle("t-SNE: only near neighbours mean something"))
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.scatter(
        *places.T, c=items.colours[items.numbers], s=items.point_size, alpha=0.65, linewidths=0
    )
    for number, name in enumerate(items.names or []):
        own = places[items.numbers == number]
        if len(own):
            write_name(axes, name, np.median(own, axis=0))
    add_legend(figure, items)
    return figure


def _lay_out(items: Items, geometry: Geometry, seed: int) -> np.ndarray:
    """Places [N, 2] of the points."""
    from sklearn.manifold import TSNE

    options = {
        "perplexity": min(30, (len(items.rows) - 1) / 3),
        "random_state": seed,
        "max_iter": 500,  # of the usual 1000: half the time, islands already settled
    }
    distance = getattr(geometry, "distance", None)
    if distance is not None:
        rows = torch.from_numpy(items.rows)
        pairwise = distance(rows, rows).fill_diagonal_(0).numpy()
        return TSNE(metric="precomputed", init="random", **options).fit_transform(pairwise)
    rows = items.directions if geometry.faiss_metric == "ip" else items.rows
    return TSNE(init="pca", **options).fit_transform(rows.astype(np.float32))
