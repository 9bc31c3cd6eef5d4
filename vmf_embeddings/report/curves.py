"""Charts of the curves that sections of scores store, such as risk and coverage, and ROC."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vmf_embeddings.report.charts import Chart, Line, table_of, thin
from vmf_embeddings.report.run import ReportedRun
from vmf_embeddings.untrusted.text import printable

_MOST_LINES = 4  # of one run in one chart
_MOST_CHARTS = 16
_STYLES = ("line", "dash", "dot")


@dataclass(frozen=True)
class Pair:
    """Two arrays of a row that make a curve.

    Args:
        x: name of the one.
        y: name of the other.
        title: of the chart.
        x_title: of its horizontal axis.
        y_title: of its vertical axis.
        diagonal: name of the diagonal, "" for none.
        x_log: whether the horizontal axis is logarithmic.
        marked: whether each value has a point.
    """

    x: str
    y: str
    title: str
    x_title: str
    y_title: str
    diagonal: str = ""
    x_log: bool = False
    marked: bool = False


_PAIRS = (
    Pair("coverage", "risk", "Risk and coverage", "coverage: surest rows kept", "wrong among them"),
    Pair("fpr", "tpr", "ROC", "false positive rate", "true positive rate", "chance"),
    Pair("far", "tar", "ROC", "false accept rate", "true accept rate", x_log=True),
    Pair("recall", "precision", "Precision and recall", "recall", "precision"),
    Pair("bin_confidence", "bin_accuracy", "Reliability", "confidence", "accuracy", "perfect",
         marked=True),
    Pair("taus", "macro_accuracy_fitted_on", "Macro accuracy by tau", "tau", "macro accuracy",
         marked=True),
)  # fmt: skip
# name of the edges of bins -> names of counts in them, with their words
_HISTOGRAMS = {
    "edges": {"n_in": "scored rows", "n_out": "other data"},
    "similarity_edges": {"same": "pairs of one class", "different": "pairs of two classes"},
}
_RIGHT = {"retrieval": "right if the nearest row is of the class",
          "classification": "right if the class is predicted"}  # fmt: skip
Kind = tuple[str, str, Pair]
"""Section, end of the names of rows, pair of curves."""


def curve_charts(runs: Sequence[ReportedRun]) -> list[Chart]:
    """One chart for every kind of curve that the runs have, and histograms of each run."""
    charts = [_chart(kind, lines, n) for n, (kind, lines) in enumerate(_grouped(runs).items())]
    histograms = [chart for run in runs for chart in _histograms(run, len(runs) > 1)]
    return [*charts, *histograms][:_MOST_CHARTS]


def _chart(kind: Kind, lines: Sequence[Line], number: int) -> Chart:
    section, end, pair = kind
    about = _RIGHT.get(end, end.replace("_", " "))
    beside = "" if section == "uncertainty" else f", {section.replace('_', ' ')}"
    title = printable(f"{pair.title}{beside}{f', {about}' if about else ''}")
    key = f"curve-{number}"
    low = min(min(line.x) for line in lines)
    extra = [Line(pair.diagonal, [low, 1], [low, 1], -1, "dash")] if pair.diagonal else []
    if pair.x_log:
        lines = [_above_zero(line) for line in lines]
    x_range = () if pair.x_log or pair.marked else (0, 1.01)
    table = table_of(f"{key}-table", title, pair.x_title, lines)
    return Chart(
        key, title, f"{title}: {_ends(lines)}.", [*lines, *extra], pair.x_title, pair.y_title,
        x_log=pair.x_log, x_range=x_range, table=table,
    )  # fmt: skip


def _above_zero(line: Line) -> Line:
    """The part of a line that a logarithmic axis shows."""
    kept = [(x, y) for x, y in zip(line.x, line.y, strict=True) if x > 0] or [(1.0, line.y[-1])]
    return Line(line.name, [x for x, _ in kept], [y for _, y in kept], line.colour, line.style)


def _grouped(runs: Sequence[ReportedRun]) -> dict[Kind, list[Line]]:
    """Lines by section, end of the row's name and pair of curves; the best rows of each run."""
    found: dict[Kind, list[Line]] = {}
    for run in runs:
        own: dict[Kind, list[str]] = {}
        for row, pair in _pairs(run.scored.curves):
            section, _, rest = row.partition("/")
            end = rest.rpartition("/")[2] if rest.count("/") else ""
            own.setdefault((section, end, pair), []).append(row)
        for kind, rows in own.items():
            best = sorted(rows, key=lambda row: _rank(run, row))[: max(1, _MOST_LINES // len(runs))]
            lines = found.setdefault(kind, [])
            lines += [_line(run, row, kind, n, len(runs) > 1) for n, row in enumerate(best)]
    return found


def _pairs(curves: Mapping[str, np.ndarray]) -> Iterator[tuple[str, Pair]]:
    """Rows of which both curves of a pair are there, of one length."""
    for name in curves:
        row, _, part = name.rpartition("/")
        for pair in _PAIRS:
            if part == pair.x and f"{row}/{pair.y}" in curves:
                x, y = curves[name], curves[f"{row}/{pair.y}"]
                if x.ndim == 1 and x.shape == y.shape and len(x):
                    yield row, pair


def _rank(run: ReportedRun, row: str) -> float:
    """Smaller for a better row: its AURC, else minus its AUROC, else 0."""
    section, _, rest = row.partition("/")
    scores = run.entry.get(section)
    if not isinstance(scores, dict):
        return 0.0
    for name, sign in (("aurc", 1), ("auroc", -1)):
        value = scores.get(f"{rest}/{name}")
        if isinstance(value, int | float):
            return sign * value
    return 0.0


def _line(run: ReportedRun, row: str, kind: Kind, n: int, several: bool) -> Line:
    """The n-th line of a run; runs differ in colour, and lines of one run in style."""
    section, end, pair = kind
    name = row.removeprefix(section).removesuffix(f"/{end}" if end else "").strip("/")
    name = printable(name.replace("/", ", ").replace("_", " "))
    x, y = (thin(run.scored.curves[f"{row}/{part}"].tolist()) for part in (pair.x, pair.y))
    if not several:
        return Line(name or run.name, x, y, n, "marked" if pair.marked else "line")
    words = f"{run.name}: {name}" if name else run.name
    style = "marked" if pair.marked and n == 0 else _STYLES[n % len(_STYLES)]
    return Line(words, x, y, run.number, style)


def _ends(lines: Sequence[Line]) -> str:
    """Values in the middle and at the end of each line."""
    parts = []
    for line in lines:
        half = len(line.x) // 2
        parts.append(
            f"{line.name}: {line.y[half]:.3g} at {line.x[half]:.3g}, {line.y[-1]:.3g} at "
            f"{line.x[-1]:.3g}"
        )
    return "; ".join(parts)


def _histograms(run: ReportedRun, several: bool) -> Iterator[Chart]:
    """How often which value occurs in two kinds of rows, of the best row of each section."""
    curves = run.scored.curves
    rows: dict[tuple[str, str], list[str]] = {}
    for name in curves:
        row, _, part = name.rpartition("/")
        if part in _HISTOGRAMS and all(f"{row}/{one}" in curves for one in _HISTOGRAMS[part]):
            rows.setdefault((row.partition("/")[0], part), []).append(row)
    for number, ((section, part), own) in enumerate(rows.items()):
        row = min(own, key=lambda row: _rank(run, row))
        edges = curves[f"{row}/{part}"].ravel().astype(float)
        counts = {w: curves[f"{row}/{one}"].ravel() for one, w in _HISTOGRAMS[part].items()}
        if len(edges) < 2 or any(len(values) != len(edges) - 1 for values in counts.values()):
            continue
        if not all(np.isfinite(values).all() for values in (edges, *counts.values())):
            continue
        shares = {words: values / max(values.sum(), 1) for words, values in counts.items()}
        middles = (edges[:-1] + edges[1:]) / 2
        lines = [
            Line(words, middles.tolist(), values.tolist(), n, "bars")
            for n, (words, values) in enumerate(shares.items())
        ]
        words = row.removeprefix(section).strip("/").replace("/", ", ").replace("_", " ")
        of = f"{run.name}: " if several else ""
        title = printable(f"{of}{section.replace('_', ' ')}{f', {words}' if words else ''}")
        key = f"histogram-{run.number}-{number}"
        tables = table_of(f"{key}-table", title, "value", lines)
        ways = " and ".join(f"{w} ({int(values.sum()):,})" for w, values in counts.items())
        yield Chart(
            key, title, f"Fractions of {ways} by value.", lines, "value", "fraction", table=tables
        )
