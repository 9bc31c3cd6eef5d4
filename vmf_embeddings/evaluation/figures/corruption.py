"""Confidence against the strength of corruptions, with an image at every strength."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vmf_embeddings.embeddings import EmbeddingFile, load_embeddings
from vmf_embeddings.evaluation.figures.row_images import channels_last
from vmf_embeddings.evaluation.figures.style import ACCENT, MUTED, SECOND, new_figure
from vmf_embeddings.evaluation.figures.text import add_title
from vmf_embeddings.evaluation.score_table import ScoreTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec

# fixed, so that the figure does not choose by the scored rows; the first two that there are
_CONFIDENCES = (
    "kappa", "norm", "distance_to_origin", "max_probability", "nearest_similarity",
)  # fmt: skip
_PANELS, _MOST_CORRUPTIONS, _MOST_TILES = 2, 6, 6
# corruption -> what its level is
_LEVELS = {
    "crop": "share removed",
    "blur": "sigma, pixels",
    "occlusion": "share covered",
    "noise": "standard deviation",
}


def draw_corruption(table: ScoreTable, title: str) -> "Figure | None":
    """A line for each corruption: two confidences by level (mean, quartiles), and one image.

    Args:
        table: of `sections.corruption`.
        title: of the figure.

    Returns:
        None without any confidence.
    """
    rows = [row for row in table.rows if f"{row}/mean" in table.curves]
    corruptions = list(dict.fromkeys(row.partition("/")[0] for row in rows))[:_MOST_CORRUPTIONS]
    names = {row.partition("/")[2] for row in rows}
    chosen = [name for name in _CONFIDENCES if name in names][:_PANELS]
    if not chosen:
        return None
    examples = _examples(table.about.get("examples"))
    width = 3.1 * len(chosen) + (0 if examples is None else 0.95 * _MOST_TILES)
    figure = new_figure(width + 0.3, 2.25 * len(corruptions) + 0.6)
    caption = "line: mean of the images; band: middle half of them; level 0: as they are"
    add_title(figure, title, caption, 11)
    ratios = [3.1] * len(chosen) + ([] if examples is None else [0.95 * _MOST_TILES])
    grid = figure.add_gridspec(len(corruptions), len(ratios), width_ratios=ratios)
    first: dict[int, Axes] = {}  # of a column, whose axis the others have too
    for line, corruption in enumerate(corruptions):
        for column, name in enumerate(chosen):
            axes = figure.add_subplot(grid[line, column], sharey=first.get(column))
            first.setdefault(column, axes)
            if f"{corruption}/{name}" in table.rows:
                colour = (ACCENT, SECOND)[column]
                _draw_curve(axes, table, f"{corruption}/{name}", colour)
        if examples is not None:
            _draw_tiles(figure, grid[line, len(chosen)], examples, corruption)
    return figure


def _draw_curve(axes: "Axes", table: ScoreTable, row: str, colour: str) -> None:
    corruption, _, name = row.partition("/")
    curve = {
        part: table.curves[f"{row}/{part}"]
        for part in ("level", "mean", "lower_quartile", "upper_quartile")
    }
    levels = curve["level"]
    axes.fill_between(
        levels, curve["lower_quartile"], curve["upper_quartile"], color=colour, alpha=0.2, lw=0
    )
    axes.plot(levels, curve["mean"], color=colour, linewidth=1.8, marker="o", markersize=4)
    axes.set_title(f"{corruption}: {name.replace('_', ' ')}", fontsize=10)
    axes.set_xlabel(_LEVELS.get(corruption, "level"), fontsize=8.5, labelpad=1)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.tick_params(labelsize=8)


def _examples(path: str | None) -> EmbeddingFile | None:
    """The file of examples; None without one that has images."""
    if path is None or not Path(path).is_file():
        return None
    file = load_embeddings(path)
    has_images = file.pictures is not None and file.source is not None and file.pictures.size > 0
    return file if has_images else None


def _draw_tiles(
    figure: "Figure", place: "SubplotSpec", file: EmbeddingFile, corruption: str
) -> None:
    """One image, clean and at every level, over a second one, in rising order of the level."""
    sources = np.unique(file.source)[:2]
    grid = place.subgridspec(len(sources), _MOST_TILES, wspace=0.08, hspace=0.1)
    for line, source in enumerate(sources.tolist()):
        rows = _rows(file, source, corruption)[:_MOST_TILES]
        for column, row in enumerate(rows):
            axes = figure.add_subplot(grid[line, column])
            image = channels_last(file.pictures[row])
            grey = {"cmap": "gray", "vmin": 0, "vmax": 255} if image.ndim == 2 else {}
            axes.imshow(image, interpolation="nearest", **grey)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(False)
            for spine in axes.spines.values():
                spine.set(visible=True, color=MUTED, linewidth=0.6)
            if line == 0:
                axes.set_title(
                    f"{file.level[row]:g}", fontsize=8, color=MUTED, loc="center",
                    fontweight="normal", pad=2,
                )  # fmt: skip


def _rows(file: EmbeddingFile, source: int, corruption: str) -> Sequence[int]:
    """Rows of an image by rising level, the clean one first."""
    own = (file.source == source) & np.isin(file.corruption, ("clean", corruption))
    rows = own.nonzero()[0]
    return rows[np.argsort(file.level[rows], kind="stable")].tolist()
