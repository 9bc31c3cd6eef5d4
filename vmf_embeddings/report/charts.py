"""Charts of a report, as data: `page/charts.js` draws them by plotly."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from vmf_embeddings.report.tables import Table, number

MOST_POINTS = 400  # of a line; between them it is straight


@dataclass(frozen=True)
class Line:
    """One line, or points or bars.

    Args:
        name: in the legend; "" for none.
        x: places.
        y: values.
        colour: number of its colour; -1 for grey.
        style: "line", "marked" (with a point at each value), "dash", "dot", "points" or "bars".
        texts: of each point, for its label.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0
    style: str = "line"
    texts: Sequence[str] = ()


@dataclass(frozen=True)
class Chart:
    """One chart.

    Args:
        key: different for all charts of a page.
        title: above it.
        summary: what it shows, in a sentence, for those who do not see it.
        lines: what is drawn.
        x_title: of the horizontal axis.
        y_title: of the vertical axis.
        x_log: whether the horizontal axis is logarithmic.
        y_log: whether the vertical axis is.
        x_range: ends of the horizontal axis; () for those of the lines.
        y_range: ends of the vertical axis.
        table: its numbers.
    """

    key: str
    title: str
    summary: str
    lines: Sequence[Line]
    x_title: str
    y_title: str
    x_log: bool = False
    y_log: bool = False
    x_range: Sequence[float] = ()
    y_range: Sequence[float] = ()
    table: Table | None = field(default=None, repr=False)

    def drawn(self) -> dict[str, Any]:
        """What `charts.js` takes, as JSON values."""
        content = {k: v for k, v in vars(self).items() if k not in ("table", "lines")}
        lines = [{**asdict(one), "x": shown(one.x), "y": shown(one.y)} for one in self.lines]
        return {**content, "lines": lines}


def shown(values: Iterable[float]) -> list[float | None]:
    """Values with six digits; None in place of NaN and infinity, where a line has a gap."""
    return [float(f"{v:.6g}") if math.isfinite(v) else None for v in map(float, values)]


def thin(values: Sequence[float]) -> list[float]:
    """At most MOST_POINTS of values, evenly by place, the ends among them."""
    n = len(values)
    if n <= MOST_POINTS:
        return [float(v) for v in values]
    places = (round(k * (n - 1) / (MOST_POINTS - 1)) for k in range(MOST_POINTS))
    return [float(values[place]) for place in places]


def table_of(key: str, caption: str, x_name: str, lines: Sequence[Line], most: int = 21) -> Table:
    """The numbers of lines: a row for every x, a column for every line.

    Args:
        key: of the table.
        caption: of it.
        x_name: head of the first column.
        lines: of one chart.
        most: rows, evenly from the first line to the last; more would be no table to read.
    """
    named = [one for one in lines if one.name]
    columns = [dict(zip(map(float, one.x), one.y, strict=True)) for one in named]
    places = sorted({x for column in columns for x in column})
    if len(places) > most:
        places = [places[round(k * (len(places) - 1) / (most - 1))] for k in range(most)]
    rows = [
        [number(x, 1, _digits(places)),
         *(number(_at(column, x)) for column in columns)]
        for x in places
    ]  # fmt: skip
    return Table(key, caption, [x_name, *(one.name for one in named)], rows)


def _digits(places: Sequence[float]) -> int:
    return 0 if all(float(x).is_integer() for x in places) else 4


def _at(column: dict[float, float], x: float) -> float | None:
    """The value at x; that of the nearest place at or below it where a line lacks x itself."""
    if x in column:
        return column[x]
    below = [place for place in column if place <= x]
    return column[max(below)] if below else None
