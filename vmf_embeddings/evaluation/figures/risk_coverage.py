"""Risk against coverage: how much is wrong among the rows that one is surest of."""

from typing import TYPE_CHECKING

import numpy as np

from vmf_embeddings.evaluation.figures.style import COLOURS, MUTED, new_figure
from vmf_embeddings.evaluation.figures.text import add_title
from vmf_embeddings.evaluation.score_table import ScoreTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_LINES = 4


def draw_risk_coverage(table: ScoreTable, title: str) -> "Figure":
    """One panel for each meaning of right: the four confidences of lowest AURC, and the limits.

    Args:
        table: of `sections.uncertainty`.
        title: of the figure.
    """
    kinds = list(dict.fromkeys(row.rpartition("/")[2] for row in table.rows))
    figure = new_figure(5.2 * len(kinds), 4.4)
    add_title(figure, title)
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        _draw(axes, table, kind)
    return figure


def _draw(axes: "Axes", table: ScoreTable, kind: str) -> None:
    error = table.about[kind]["error"]
    rows = [row for row in table.rows if row.endswith(f"/{kind}")]
    best = sorted(rows, key=lambda row: table.rows[row]["aurc"])[:_MOST_LINES]
    for row, colour in zip(best, COLOURS, strict=False):
        name = row.partition("/")[0].replace("_", " ")
        label = f"{name}, AURC {table.rows[row]['aurc']:.4f}"
        coverage, risk = (100 * table.curves[f"{row}/{part}"] for part in ("coverage", "risk"))
        axes.plot(coverage, risk, color=colour, linewidth=1.6, label=label)
    coverage = np.linspace(0.001, 1, 500)
    lowest, least = np.maximum(0, 1 - (1 - error) / coverage), table.rows[best[0]]["lowest_aurc"]
    grey = {"color": MUTED, "linewidth": 1}
    axes.plot(100 * coverage, 100 * lowest, **grey, linestyle=":", label=f"perfect, {least:.4f}")
    chance = f"confidence by chance, {error:.4f}"
    axes.plot([0, 100], [100 * error] * 2, **grey, linestyle="--", label=chance)
    axes.set_title({"retrieval": "Right if the nearest row is of the class"}.get(
        kind, "Right if the class is predicted"))  # fmt: skip
    axes.set_xlabel("coverage: surest rows kept, %")
    axes.set_ylabel("risk: wrong among them, %")
    axes.set_xlim(0, 100)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
