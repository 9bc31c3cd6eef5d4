"""A scatter plot of embeddings: on the circle, sphere or plane, or t-SNE in higher dimensions."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.figures.flat import draw_circle, draw_plane
from vmf_embeddings.evaluation.figures.items import Items
from vmf_embeddings.evaluation.figures.sphere import draw_sphere
from vmf_embeddings.evaluation.figures.tsne import draw_tsne

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_POINTS = 4000
FEW_PER_CLASS = 10  # if a random choice would leave fewer rows per class, whole classes are taken


def draw_embedding_map(evaluated: EvaluatedFile, seed: int) -> "Figure | None":
    """Draws directions on the circle (2-D) or sphere (3-D), points in the plane (2-D), else t-SNE.

    Args:
        evaluated: the file.
        seed: chooses the rows that are shown, where there are more than 4000.

    Returns:
        The figure; None for fewer than three rows, or one dimension.
    """
    items = _items(evaluated, seed)
    dim = items.rows.shape[1]
    if len(items.rows) < 3 or dim < 2:
        return None
    compares_directions = evaluated.geometry.faiss_metric == "ip"
    if dim == 3 and compares_directions:
        return draw_sphere(items)
    if dim == 2:
        curvature = getattr(evaluated.geometry, "c", None)
        boundary_radius = None if curvature is None else curvature**-0.5
        return draw_circle(items) if compares_directions else draw_plane(items, boundary_radius)
    return draw_tsne(items, evaluated.geometry, seed)


def choose_rows(
    numbers: np.ndarray, n_classes: int, generator: torch.Generator, most: int = MOST_POINTS
) -> np.ndarray:
    """Row numbers of at most `most` rows: random ones, or for many classes all rows of random ones.

    Of thousands of classes, random rows would show one point each, and no clusters.

    Args:
        numbers: [N] class of each row, 0..C-1.
        n_classes: C.
        generator: for the random order of rows or classes.
        most: rows.
    """
    if most // n_classes >= FEW_PER_CLASS:
        return torch.randperm(len(numbers), generator=generator)[:most].numpy()
    rank = torch.randperm(n_classes, generator=generator).numpy()
    return np.argsort(rank[numbers], kind="stable")[:most]


def _items(evaluated: EvaluatedFile, seed: int) -> Items:
    generator = torch.Generator().manual_seed(seed)
    classes, numbers = np.unique(evaluated.file.ids, return_inverse=True)
    order = choose_rows(numbers, len(classes), generator)
    chosen = torch.from_numpy(evaluated.file.embeddings[order]).double()
    weights = evaluated.file.class_weights
    if weights is not None and (evaluated.file.open_set or classes.max() >= len(weights)):
        weights = None  # they are of the training classes, which are others
    return Items(
        rows=evaluated.geometry.project(chosen).numpy(),
        numbers=numbers[order],
        classes=classes,
        class_names=evaluated.class_names,
        weights=None if weights is None else weights[classes].astype(np.float64),
        title=evaluated.title,
        n_rows=len(evaluated.file.ids),
    )
