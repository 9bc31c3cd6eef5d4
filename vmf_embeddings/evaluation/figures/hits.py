"""A sheet of queries and what a search found for them, with the similarity beneath each image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vmf_embeddings.evaluation.figures.style import ACCENT, INK, MUTED, new_figure
from vmf_embeddings.evaluation.figures.text import add_title, columns, drawable, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_QUERIES = 20  # on one sheet
MOST_NEIGHBOURS = 20
_COLUMNS = 17  # characters beneath an image
_TILE = 1.3  # inches


@dataclass(frozen=True)
class Tile:
    """One image of a sheet.

    Attributes:
        image: [H, W] or [H, W, 3] in [0, 1]; None where it cannot be shown.
        name: of the image, such as its path.
        label: of its class, or what is predicted; "" where nothing is known.
        similarity: to the query; None for the query itself.
    """

    image: np.ndarray | None
    name: str
    label: str = ""
    similarity: float | None = None


@dataclass(frozen=True)
class SheetRow:
    """A query and its neighbours, nearest first."""

    query: Tile
    neighbours: Sequence[Tile]


def draw_hits(rows: Sequence[SheetRow], title: str, below: str = "") -> "Figure":
    """One row per query: the query, then its neighbours.

    Args:
        rows: at most `MOST_QUERIES` of them and `MOST_NEIGHBOURS` of their neighbours are drawn.
        title: of the sheet.
        below: a smaller line under the title.
    """
    rows = rows[:MOST_QUERIES]
    n_columns = 1 + max(1, min(MOST_NEIGHBOURS, max(len(row.neighbours) for row in rows)))
    figure = new_figure(_TILE * n_columns + 0.4, (_TILE + 0.45) * len(rows) + 0.9)
    add_title(figure, title, below, 11)
    grid = figure.subplots(len(rows), n_columns, squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        tiles = [row.query, *row.neighbours[: n_columns - 1]]
        for one, tile in zip(axes, tiles, strict=False):
            _draw(one, tile)
        for one in axes[len(tiles) :]:
            one.set_axis_off()
    heads = ["query", *map(str, range(1, n_columns))]
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(head, fontsize=9, color=MUTED, loc="center", fontweight="normal")
    return figure


def _draw(axes: "Axes", tile: Tile) -> None:
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    is_query = tile.similarity is None
    if tile.image is None:
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
        axes.text(0.5, 0.5, "not shown", ha="center", va="center", fontsize=7.5, color=MUTED)
    else:
        axes.imshow(
            tile.image,
            cmap="gray" if tile.image.ndim == 2 else None,
            vmin=0 if tile.image.ndim == 2 else None,
            vmax=1 if tile.image.ndim == 2 else None,
            interpolation="nearest",
        )
    for spine in axes.spines.values():
        spine.set(
            visible=True, color=ACCENT if is_query else MUTED, linewidth=2.2 if is_query else 0.8
        )
    axes.set_xlabel("\n".join(captions(tile)), fontsize=7.5, color=INK, labelpad=2)


def captions(tile: Tile) -> list[str]:
    """The lines beneath an image: similarity, label and name, each short enough for its tile."""
    similarity = [] if tile.similarity is None else [f"{tile.similarity:z.4f}"]
    label = [shorten(drawable(tile.label), _COLUMNS)] if tile.label else []
    name = [_end(drawable(tile.name), _COLUMNS)] if tile.name else []
    return [*similarity, *label, *name]


def _end(text: str, length: int) -> str:
    """The end of a text, where paths differ, at most `length` columns wide.

    >>> _end("photos/one/0001.png", 13)
    '…one/0001.png'
    """
    if len(text) > length:  # each character takes a column at least
        text = f"…{text[-length:]}"
    while columns(text) > length:
        text = f"…{text.removeprefix('…')[1:]}"
    return text
