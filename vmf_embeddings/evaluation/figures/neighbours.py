"""A grid of queries with their nearest neighbours, hits and misses framed and marked."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.evaluation.figures.style import (
    HIT,
    INK,
    MISS,
    MUTED,
    class_labels,
    new_figure,
    shorten,
)
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.scores import rows_to_compare
from vmf_embeddings.evaluation.subject import Subject
from vmf_embeddings.search import NearestSearch
from vmf_embeddings.untrusted.images import inside, read_image
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

N_QUERIES, N_NEIGHBOURS = 8, 7
MOST_SEARCHED = 2000
_THUMBNAIL = 128


def draw_neighbours(
    subject: Subject, options: EvaluationOptions
) -> tuple["Figure | None", str | None]:
    """Eight queries, up to half of them with a wrong first neighbour, each with seven neighbours.

    Args:
        subject: a file with `examples`, `pictures` or `paths` to pictures that exist.
        options: `seed` chooses the queries, `search` finds the neighbours.

    Returns:
        The figure or None, and a note why there is none.
    """
    file = subject.file
    if file.examples is None and file.pictures is None and file.paths is None:
        return None, (
            f"No picture of neighbours: {subject.path.name} holds neither pictures nor where they "
            "lie; write it again with mode=get_embeddings"
        )
    queries, found, words = _choose(subject, options)
    if not queries:
        return None, "No picture of neighbours: no query shares its class with another row"
    try:
        pictures = _pictures(subject, {*queries, *found.flatten().tolist()} - {-1}, options)
    except Refused as error:
        return None, f"No picture of neighbours: {printable(error)}"
    figure = new_figure(1.12 * (N_NEIGHBOURS + 1) + 0.4, 1.32 * len(queries) + 0.9)
    figure.suptitle(f"{subject.title}\n{words}", x=0.01, ha="left", fontsize=11, color=INK)
    grid = figure.subplots(len(queries), N_NEIGHBOURS + 1, squeeze=False)
    labels = subject.file.ids
    names = class_labels(labels.tolist(), subject.class_names)
    for row, query in enumerate(queries):
        _draw_tile(grid[row, 0], pictures[query], shorten(names[query], 13), None)
        for column, other in enumerate(found[row].tolist(), 1):
            if other < 0:
                grid[row, column].set_axis_off()
                continue
            hit = bool(labels[other] == labels[query])
            _draw_tile(grid[row, column], pictures[other], shorten(names[other], 13), hit)
    grid[0, 0].set_title("query", fontsize=9, color=MUTED, loc="center", fontweight="normal")
    for column in range(1, N_NEIGHBOURS + 1):
        grid[0, column].set_title(
            f"{column}", fontsize=9, color=MUTED, loc="center", fontweight="normal"
        )
    return figure, None


def _choose(subject: Subject, options: EvaluationOptions) -> tuple[list[int], Tensor, str]:
    """Row numbers of queries, their neighbours' row numbers [Q, K], and how they were chosen."""
    file = subject.file
    rows = rows_to_compare(subject)
    generator = torch.Generator().manual_seed(options.seed)
    gallery = _mask(file.is_gallery, len(rows)).nonzero().squeeze(1)
    asked = _not_alone(file.ids, _mask(file.is_query, len(rows)), gallery)
    asked = asked[torch.randperm(len(asked), generator=generator)[:MOST_SEARCHED]]
    position = torch.full((len(rows),), -1)
    position[gallery] = torch.arange(len(gallery))
    search = NearestSearch(
        rows if file.is_gallery is None else rows[gallery],
        similarity=subject.geometry.similarity,
        metric=subject.geometry.faiss_metric,
        backend=options.search,
    )
    found = search(rows[asked], N_NEIGHBOURS, exclude=position[asked])[0].cpu()
    neighbours = torch.where(found >= 0, gallery[found.clamp_min(0)], -1)
    labels = torch.from_numpy(file.ids)
    wrong = (neighbours[:, 0] < 0) | (labels[neighbours[:, 0]] != labels[asked])
    misses, hits = wrong.nonzero().squeeze(1), (~wrong).nonzero().squeeze(1)
    n_misses = min(len(misses), max(N_QUERIES // 2, N_QUERIES - len(hits)))
    chosen = torch.cat([hits[: N_QUERIES - n_misses], misses[:n_misses]])
    drawn = " drawn" if len(asked) == MOST_SEARCHED else ""
    words = (
        f"{len(misses):,} of {len(asked):,}{drawn} queries have a wrong first neighbour; "
        f"{n_misses} of them are shown, and {len(chosen) - n_misses} others"
    )
    return asked[chosen].tolist(), neighbours[chosen], words


def _not_alone(ids: np.ndarray, is_query: Tensor, gallery: Tensor) -> Tensor:
    """Queries for which there is something to find: another row of their class in the gallery."""
    classes = torch.from_numpy(np.unique(ids, return_inverse=True)[1])
    findable = torch.bincount(classes[gallery], minlength=int(classes.max()) + 1)[classes]
    findable[gallery] -= 1
    return (is_query & (findable > 0)).nonzero().squeeze(1)


def _mask(mask: np.ndarray | None, n_rows: int) -> Tensor:
    return torch.ones(n_rows, dtype=torch.bool) if mask is None else torch.from_numpy(mask)


def _pictures(
    subject: Subject, rows: set[int], options: EvaluationOptions
) -> dict[int, np.ndarray]:
    """The pictures of some rows.

    Raises:
        Refused: one is missing, may not be opened, or cannot be decoded.
    """
    try:
        return {row: _picture(subject, row, options) for row in sorted(rows)}
    except OSError as error:
        raise Refused(
            f"{error}; where the data set has moved, write the file again with "
            "mode=get_embeddings run=RUN dataset.params.dataset_path=PATH"
        ) from error


def _picture(subject: Subject, row: int, options: EvaluationOptions) -> np.ndarray:
    """The picture of a row, [H, W] or [H, W, 3] in [0, 1].

    Raises:
        FileNotFoundError: the file names an image that does not exist.
        Refused: it may not be opened, or cannot be decoded.
    """
    if subject.file.examples is not None:
        return _from_example(subject.file.examples[row])
    if subject.file.pictures is not None:
        return _channels_last(subject.file.pictures[row].astype(np.float32) / 255)
    return _thumbnail(_permitted(subject, row, options))


def _permitted(subject: Subject, row: int, options: EvaluationOptions) -> Path:
    """Where the image of a row lies: the file is not believed that any image may be shown.

    Raises:
        Refused: with the option to type, if it lies neither beside the embedding file, nor below
            the current folder, nor in `images_from`.
    """
    assert subject.file.paths is not None
    named = str(subject.file.paths[row])
    folders = [subject.path.parent, Path()]
    if options.images_from is not None:
        named = os.path.join(options.images_from, named)
        folders.append(options.images_from)
    place = inside(named, folders)
    if place is not None:
        return place
    folder = shlex.quote(os.path.dirname(os.path.realpath(named)))
    raise Refused(
        f"{subject.path.name} names images outside its own and the current folder, such as "
        f"{named}; if that is your data set, add --images-from with its folder, such as "
        f"--images-from {folder}"
    )


def _thumbnail(path: Path) -> np.ndarray:
    """The middle of an image file, [T, T, 3] in [0, 1]."""
    from PIL import Image, ImageOps

    image = read_image(path)
    deep = image.mode.startswith("I;16")  # 16 bits, which Pillow would clip to white
    shallow = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)) if deep else image
    square = ImageOps.fit(shallow.convert("RGB"), (_THUMBNAIL, _THUMBNAIL))
    return np.asarray(square, dtype=np.float32) / 255


def _from_example(example: np.ndarray) -> np.ndarray:
    """Stretch a stored picture, [H, W] or [channels, H, W] in any range, to [0, 1]."""
    example = example.astype(np.float32)
    low, high = example.min(), example.max()
    return _channels_last((example - low) / (high - low if high > low else 1))


def _channels_last(picture: np.ndarray) -> np.ndarray:
    """[H, W] or [channels, H, W] as [H, W] where there is no colour, else [H, W, 3]."""
    if picture.ndim == 2:
        return picture
    return picture[0] if picture.shape[0] not in (3, 4) else picture[:3].transpose(1, 2, 0)


def _draw_tile(axes: "Axes", picture: np.ndarray, name: str, hit: bool | None) -> None:
    """One picture; a query has a thin grey frame, neighbours a coloured one and a mark."""
    axes.imshow(picture, cmap="gray_r" if picture.ndim == 2 else None, interpolation="nearest")
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    colour = MUTED if hit is None else (HIT if hit else MISS)
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour, linewidth=1 if hit is None else 2.6)
    axes.set_xlabel(name, fontsize=8, color=INK, labelpad=2)
    if hit is not None:
        axes.text(
            0.97, 0.97, "✓" if hit else "✗", transform=axes.transAxes, ha="right", va="top",
            fontsize=9, color="white", fontweight="bold",
            bbox={"boxstyle": "round,pad=0.12", "facecolor": colour, "edgecolor": "none"},
        )  # fmt: skip
