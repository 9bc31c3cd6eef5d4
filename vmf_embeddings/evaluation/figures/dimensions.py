"""Retrieval scores against the number of dimensions that are kept."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vmf_embeddings.evaluation.figures.style import COLOURS, MARKERS, new_figure
from vmf_embeddings.evaluation.figures.text import add_title
from vmf_embeddings.evaluation.score_table import ScoreTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCORES = {"recall@1": "Recall@1, %", "map@r": "MAP@R, %"}


def draw_dimensions(table: ScoreTable, title: str) -> "Figure | None":
    """One panel per score, one line per number format and for principal components.

    Args:
        table: of `evaluation.compact`, with rows `<m>/<format>` or `pca_<m>/<format>`.
        title: of the figure.

    Returns:
        None with fewer than two lengths.
    """
    lines: dict[str, dict[int, Mapping[str, float]]] = {}
    for row, scores in table.rows.items():
        length, _, kind = row.partition("/")
        kind = "principal components" if length.startswith("pca_") else kind.replace("_", ", ")
        if "recall@1" in scores:
            lines.setdefault(kind, {})[int(length.removeprefix("pca_"))] = scores
    dims = sorted({dim for points in lines.values() for dim in points})
    if len(dims) < 2:
        return None
    figure = new_figure(9.2, 3.8)
    add_title(figure, title)
    for number, (name, label) in enumerate(_SCORES.items(), 1):
        axes = figure.add_subplot(1, 2, number)
        for (kind, points), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=False):
            own = sorted(points)
            axes.plot(
                own, [100 * points[dim][name] for dim in own], color=colour, marker=marker,
                markersize=5, linewidth=1.6, label=kind,
                linestyle="--" if kind == "principal components" else "-",
            )  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_xticks(dims, [str(dim) for dim in dims])
        axes.minorticks_off()
        axes.set_xlabel("dimensions kept")
        axes.set_title(label)
        if number == 1:
            axes.legend(fontsize=8)
    return figure
