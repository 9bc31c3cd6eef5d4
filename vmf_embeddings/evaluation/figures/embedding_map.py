"""The map of an embedding space: circle, sphere, plane, or t-SNE where it has more dimensions."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from vmf_embeddings.evaluation.figures.flat import draw_circle, draw_plane
from vmf_embeddings.evaluation.figures.items import Items
from vmf_embeddings.evaluation.figures.sphere import draw_sphere
from vmf_embeddings.evaluation.figures.tsne import draw_tsne
from vmf_embeddings.evaluation.subject import Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_POINTS = 4000
FEW_PER_CLASS = 10  # where a random choice leaves fewer of a class, whole classes are chosen


def draw_embedding_map(subject: Subject, seed: int) -> "Figure | None":
    """Draw directions on the circle (2-D) or sphere (3-D), points in the plane (2-D), else t-SNE.

    None for fewer than three rows, or rows of a single number.

    Args:
        subject: the file.
        seed: chooses the points where there are more than can be shown.
    """
    items = _items(subject, seed)
    dim = items.rows.shape[1]
    if len(items.rows) < 3 or dim < 2:
        return None
    compares_directions = subject.geometry.faiss_metric == "ip"
    if dim == 3 and compares_directions:
        return draw_sphere(items)
    if dim == 2:
        curvature = getattr(subject.geometry, "c", None)
        border = None if curvature is None else curvature**-0.5
        return draw_circle(items) if compares_directions else draw_plane(items, border)
    return draw_tsne(items, subject.geometry, seed)


def choose_rows(numbers: np.ndarray, n_classes: int, generator: torch.Generator) -> np.ndarray:
    """At most 4000 rows in random order; whole classes, one after another, where they are many.

    Of thousands of classes a random choice would show single rows, and no islands.

    Args:
        numbers: [N] class of each row, 0..C-1.
        n_classes: C.
        generator: of the order of rows or classes.
    """
    if MOST_POINTS // n_classes >= FEW_PER_CLASS:
        return torch.randperm(len(numbers), generator=generator)[:MOST_POINTS].numpy()
    rank = torch.randperm(n_classes, generator=generator).numpy()
    return np.argsort(rank[numbers], kind="stable")[:MOST_POINTS]


def _items(subject: Subject, seed: int) -> Items:
    generator = torch.Generator().manual_seed(seed)
    classes, numbers = np.unique(subject.file.ids, return_inverse=True)
    order = choose_rows(numbers, len(classes), generator)
    chosen = torch.from_numpy(subject.file.embeddings[order]).double()
    weights = subject.file.class_weights
    if weights is not None and (subject.file.open_set or classes.max() >= len(weights)):
        weights = None  # weights of the training classes say nothing about these
    return Items(
        rows=subject.geometry.project(chosen).numpy(),
        numbers=numbers[order],
        classes=classes,
        class_names=subject.class_names,
        weights=None if weights is None else weights[classes].astype(np.float64),
        title=subject.title,
        n_rows=len(subject.file.ids),
    )
