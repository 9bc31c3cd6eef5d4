"""Histograms of what tells rows of other data from the scored ones."""

from typing import TYPE_CHECKING

from vmf_embeddings.evaluation.figures.style import ACCENT, SECOND, new_figure
from vmf_embeddings.evaluation.figures.text import add_title, shorten
from vmf_embeddings.evaluation.score_table import ScoreTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# fixed, so that the figure does not choose by the scored rows; the first three that there are
_DETECTORS = (
    "max_probability", "mahalanobis", "knn_10", "energy", "vmf_mixture", "knn_1",
    "kappa", "norm", "distance_to_origin",
)  # fmt: skip
_PANELS, _MOST_FILES = 3, 4


def draw_ood(table: ScoreTable, title: str) -> "Figure | None":
    """One line of panels for each of the first four files, one panel for each of three detectors.

    Args:
        table: of `sections.ood`.
        title: of the figure.

    Returns:
        None without any detector.
    """
    files: dict[str, list[str]] = {}
    for curve in table.curves:
        row, _, part = curve.rpartition("/")
        if part == "edges":
            files.setdefault(row.rpartition("/")[0], []).append(row.rpartition("/")[2])
    chosen = {
        name: [d for d in _DETECTORS if d in found][:_PANELS]
        for name, found in list(files.items())[:_MOST_FILES]
    }
    if not any(chosen.values()):
        return None
    figure = new_figure(4.1 * _PANELS, 2.7 * len(chosen) + 0.5)
    add_title(figure, title)
    grid = figure.subplots(len(chosen), _PANELS, squeeze=False)
    for line, (name, detectors) in zip(grid, chosen.items(), strict=True):
        for axes, detector in zip(line, detectors, strict=False):
            _draw(axes, table, f"{name}/{detector}", ("scored rows", shorten(name, 28)))
        for axes in line[len(detectors) :]:
            axes.set_visible(False)
        line[0].set_ylabel("share of rows, %")
        line[0].legend(loc="best", fontsize=8)
    return figure


def _draw(axes: "Axes", table: ScoreTable, row: str, labels: tuple[str, str]) -> None:
    edges = table.curves[f"{row}/edges"]
    parts = zip(("n_in", "n_out"), (ACCENT, SECOND), labels, strict=True)
    for part, colour, label in parts:
        counts = table.curves[f"{row}/{part}"]
        share = 100 * counts / max(1, counts.sum())
        axes.stairs(share, edges, color=colour, fill=True, alpha=0.3)
        axes.stairs(share, edges, color=colour, linewidth=1.4, label=label)
    detector = row.rpartition("/")[2].replace("_", " ")
    axes.set_title(f"{detector}: AUROC {100 * table.rows[row]['auroc']:.1f} %", fontsize=10)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=8)
