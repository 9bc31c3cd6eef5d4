"""A grid of queries and their nearest neighbours, marked by whether the class is the same."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.figures.row_images import has_images, image_of_row
from vmf_embeddings.evaluation.figures.style import (
    HIT,
    INK,
    MISS,
    MUTED,
    new_figure,
)
from vmf_embeddings.evaluation.figures.text import add_title, class_labels, drawable, wrap
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.row_pairs import rows_to_compare
from vmf_embeddings.evaluation.rows import ignored_ids
from vmf_embeddings.evaluation.similarities import as_shown, number_in_words
from vmf_embeddings.progress import LARGE_JOB, Progress
from vmf_embeddings.search import NearestSearch
from vmf_embeddings.search.by_class import by_class
from vmf_embeddings.search.same_image import rows_of_same_image, same_image
from vmf_embeddings.untrusted.image_formats import is_picture
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

N_QUERIES, N_NEIGHBOURS = 8, 7
_TILE_WIDTH = 0.95  # inches that a name may take
MOST_SEARCHED = 2000


def draw_neighbours(
    evaluated: EvaluatedFile, options: EvaluationOptions
) -> tuple["Figure | None", str | None]:
    """Eight queries, up to half of them with a wrong first neighbour, each with seven neighbours.

    Args:
        evaluated: a file with `examples`, `pictures`, or `paths` to images that exist.
        options: `seed` chooses the queries, `search` is the backend that finds the neighbours.

    Returns:
        The figure and None, or None and the reason.
    """
    file = evaluated.file
    if not has_images(file):
        return None, (
            f"No figure of neighbours: {evaluated.path.name} holds neither images nor their paths; "
            "if it is of images, write it again with mode=get_embeddings; feature vectors are "
            "shown by their names where their file has an array paths"
        )
    n_rows = len(file.ids)
    what = f"Neighbours of {min(n_rows, MOST_SEARCHED):,} of {n_rows:,} rows"
    with Progress(what, at_once=n_rows > LARGE_JOB):
        queries, found, similarities, caption = _choose(evaluated, options)
    if not queries:
        return None, "No figure of neighbours: no query shares its class with another row"
    try:
        shown = {*queries, *found.flatten().tolist()} - {-1}
        with Progress(f"Reading {len(shown)} images for the figure of neighbours"):
            images = _images(evaluated, shown, options)
    except Refused as error:
        return None, f"No figure of neighbours: {printable(error)}"
    figure = new_figure(1.12 * (N_NEIGHBOURS + 1) + 0.4, 1.45 * len(queries) + 0.9)
    values, measure = as_shown(evaluated.geometry, similarities.numpy())
    add_title(figure, evaluated.title, f"{caption}; below: class, {measure}", 11)
    grid = figure.subplots(len(queries), N_NEIGHBOURS + 1, squeeze=False)
    labels = evaluated.file.ids
    names = _names(evaluated, [*queries, *found.flatten().tolist()])
    for row, query in enumerate(queries):
        _draw_tile(grid[row, 0], images[query], names[labels[query]], None)
        for column, other in enumerate(found[row].tolist(), 1):
            if other < 0:
                grid[row, column].set_axis_off()
                continue
            hit = bool(labels[other] == labels[query])
            text = f"{names[labels[other]]}\n{number_in_words(values[row, column - 1])}"
            _draw_tile(grid[row, column], images[other], text, hit)
    grid[0, 0].set_title("query", fontsize=9, color=MUTED, loc="center", fontweight="normal")
    for column in range(1, N_NEIGHBOURS + 1):
        grid[0, column].set_title(
            f"{column}", fontsize=9, color=MUTED, loc="center", fontweight="normal"
        )
    return figure, None


def _names(evaluated: EvaluatedFile, rows: list[int]) -> dict[int, str]:
    """Class label -> short name, different for each, of the classes of some rows."""
    shown = sorted({int(evaluated.file.ids[row]) for row in rows if row >= 0})
    return dict(zip(shown, class_labels(shown, evaluated.class_names, 15), strict=True))


def _choose(
    evaluated: EvaluatedFile, options: EvaluationOptions
) -> tuple[list[int], Tensor, Tensor, str]:
    """Queries, their neighbours [Q, K] (-1: none) and similarities to these, and a caption."""
    file = evaluated.file
    rows = rows_to_compare(evaluated)
    generator = torch.Generator().manual_seed(options.seed)
    gallery = _mask(file.is_gallery, len(rows)).nonzero().squeeze(1)
    images = same_image(file.paths)
    images = torch.arange(len(rows)) if images is None else images
    ignored = np.isin(file.ids, ignored_ids(evaluated, options.ignore_labels))
    is_query = _mask(file.is_query, len(rows)) & torch.from_numpy(~ignored)
    candidates = _with_positive(file.ids, is_query, gallery, images)
    candidates = candidates[torch.randperm(len(candidates), generator=generator)[:MOST_SEARCHED]]
    search = NearestSearch(
        rows if file.is_gallery is None else rows[gallery],
        similarity=evaluated.geometry.similarity,
        metric=evaluated.geometry.faiss_metric,
        backend=options.search,
    )
    exclude = rows_of_same_image(images[candidates], images[gallery])
    found, similarities = (
        part.cpu() for part in search(rows[candidates], N_NEIGHBOURS, exclude=exclude)
    )
    neighbours = torch.where(found >= 0, gallery[found.clamp_min(0)], -1)
    labels = torch.from_numpy(file.ids)
    wrong = (neighbours[:, 0] < 0) | (labels[neighbours[:, 0]] != labels[candidates])
    misses, hits = wrong.nonzero().squeeze(1), (~wrong).nonzero().squeeze(1)
    n_misses = min(len(misses), max(N_QUERIES // 2, N_QUERIES - len(hits)))
    chosen = torch.cat([hits[: N_QUERIES - n_misses], misses[:n_misses]])
    sampled = " sampled" if len(candidates) == MOST_SEARCHED else ""
    caption = (
        f"{len(misses):,} of {len(candidates):,}{sampled} queries have a wrong first neighbour; "
        f"{n_misses} of them are shown, and {len(chosen) - n_misses} others"
    )
    return candidates[chosen].tolist(), neighbours[chosen], similarities[chosen], caption


def _with_positive(ids: np.ndarray, is_query: Tensor, gallery: Tensor, images: Tensor) -> Tensor:
    """Queries that have a positive: a gallery row of their class that shows another image."""
    classes = torch.from_numpy(np.unique(ids, return_inverse=True)[1])
    order = by_class(classes, is_query.nonzero().squeeze(1), gallery, images)
    return order.queries[order.n_relevant > 0].sort().values


def _mask(mask: np.ndarray | None, n_rows: int) -> Tensor:
    return torch.ones(n_rows, dtype=torch.bool) if mask is None else torch.from_numpy(mask)


def _images(
    evaluated: EvaluatedFile, rows: set[int], options: EvaluationOptions
) -> dict[int, np.ndarray | str]:
    """The images of some rows, by row number; their names where these are not of image files.

    Raises:
        Refused: one is missing, may not be opened, or cannot be decoded.
    """
    file = evaluated.file
    if file.examples is None and file.pictures is None and file.paths is not None:
        names = {row: str(file.paths[row]) for row in sorted(rows)}
        if not any(map(is_picture, names.values())):
            return dict(names)
    try:
        return {
            row: image_of_row(evaluated.file, row, evaluated.path, options.images_from)
            for row in sorted(rows)
        }
    except OSError as error:
        raise Refused(
            f"{error}; where the data set has moved, write the file again with "
            "mode=get_embeddings run=RUN dataset.params.dataset_path=PATH"
        ) from error


def _draw_tile(axes: "Axes", image: np.ndarray | str, name: str, hit: bool | None) -> None:
    """One image or text; a query has a thin grey frame, neighbours a coloured one and a mark."""
    if isinstance(image, str):
        lines = wrap(drawable(image), _TILE_WIDTH, 7, most_lines=6)
        axes.text(0.5, 0.5, "\n".join(lines), ha="center", va="center", fontsize=7, color=INK)
        axes.set_box_aspect(1)
    else:
        axes.imshow(image, cmap="gray_r" if image.ndim == 2 else None, interpolation="nearest")
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    colour = MUTED if hit is None else (HIT if hit else MISS)
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour, linewidth=1 if hit is None else 2.6)
    axes.set_xlabel(name, fontsize=7.5, color=INK, labelpad=2)
    if hit is not None:
        axes.text(
            0.97, 0.97, "✓" if hit else "✗", transform=axes.transAxes, ha="right", va="top",
            fontsize=9, color="white", fontweight="bold",
            bbox={"boxstyle": "round,pad=0.12", "facecolor": colour, "edgecolor": "none"},
        )  # fmt: skip
