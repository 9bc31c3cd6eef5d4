"""Reliability, risk against coverage, and other curves of scores, of every run that has them."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from vmf_embeddings.metrics import expected_calibration_error, reliability_bins
from vmf_embeddings.report.charts import Chart, Line, table_of, thin
from vmf_embeddings.report.run import ReportedRun
from vmf_embeddings.untrusted.text import printable

_N_BINS = 15
_MOST_LINES = 4  # of one run in one chart
_MOST_CHARTS = 12
_STYLES = ("line", "dash", "dot")
# names of two curves that belong together -> titles of the axes, and whether chance is the diagonal
_PAIRS = {
    ("coverage", "risk"): ("coverage: surest rows kept", "risk: wrong among them", False),
    ("fpr", "tpr"): ("false positive rate", "true positive rate", True),
    ("far", "tar"): ("false accept rate", "true accept rate", True),
    ("recall", "precision"): ("recall", "precision", False),
}
Kind = tuple[str, str, tuple[str, str]]
"""Section, end of the names of rows, pair of curves."""
_RIGHT = {"retrieval": "right if the nearest row is of the class",
          "classification": "right if the class is predicted"}  # fmt: skip


def reliability_charts(runs: Sequence[ReportedRun]) -> list[Chart]:
    """Accuracy over confidence, and how many predictions have which confidence."""
    known = [run for run in runs if run.context.classified is not None]
    if not known:
        return []
    lines, counts, parts = [], [], []
    for run in known:
        classified = run.context.classified
        assert classified is not None
        confidence, correct = classified.confidence, classified.correct
        bins = reliability_bins(confidence, correct, _N_BINS, "equal_mass")
        lines.append(
            Line(run.name, thin(bins.confidence), thin(bins.accuracy), run.number, "marked")
        )
        heights, edges = np.histogram(confidence.numpy(), bins=20, range=(0, 1))
        middles = (edges[:-1] + edges[1:]) / 2
        counts.append(Line(run.name, middles.tolist(), heights.tolist(), run.number, "bars"))
        error = expected_calibration_error(confidence, correct)
        mean = float(confidence.double().mean())
        right = float(correct.double().mean())
        parts.append(
            f"{run.name}: calibration error {error:.4f} (L1, equal-width), mean confidence "
            f"{mean:.3f}, accuracy {right:.3f}"
        )
    low = max(0.0, min(min(line.x) for line in lines) - 0.05)
    diagonal = Line("perfect", [low, 1], [low, 1], -1, "dash")
    summary = f"Accuracy in {_N_BINS} bins of equal mass by confidence. {'; '.join(parts)}."
    bins_table = table_of(
        "reliability-table", "Accuracy by mean confidence of bins", "confidence", lines
    )
    count_table = table_of("confidence-table", "Predictions by confidence", "confidence", counts)
    return [
        Chart("reliability", "Reliability", summary, [*lines, diagonal], "confidence", "accuracy",
              x_range=(low, 1.01), table=bins_table),
        Chart("confidence", "Confidence of predictions", f"Number of predictions by confidence, in "
              f"20 bins. {'; '.join(parts)}.", counts, "confidence", "predictions",
              table=count_table),
    ]  # fmt: skip


def curve_charts(runs: Sequence[ReportedRun]) -> list[Chart]:
    """One chart for every kind of curve that the files of curves hold, with all runs in it."""
    charts = []
    for (section, kind, pair), lines in list(_grouped(runs).items())[:_MOST_CHARTS]:
        x_title, y_title, by_chance = _PAIRS[pair]
        title = _titled(section, kind, pair)
        key = f"curve-{len(charts)}"
        table = table_of(f"{key}-table", title, x_title, lines)
        extra = [Line("chance", [0, 1], [0, 1], -1, "dash")] if by_chance else []
        charts.append(
            Chart(key, title, f"{title}: {_ends(lines)}.", [*lines, *extra], x_title, y_title,
                  x_range=(0, 1.01), table=table)
        )  # fmt: skip
    return charts


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


def _pairs(curves: Mapping[str, np.ndarray]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Rows of which both curves of a pair are there, of one length."""
    for name in curves:
        row, _, part = name.rpartition("/")
        for pair in _PAIRS:
            if part == pair[0] and f"{row}/{pair[1]}" in curves:
                x, y = curves[name], curves[f"{row}/{pair[1]}"]
                if x.ndim == 1 and x.shape == y.shape and len(x):
                    yield row, pair


def _rank(run: ReportedRun, row: str) -> float:
    """Smaller for a better row: its AURC, else minus its AUROC, else 0."""
    section, _, rest = row.partition("/")
    scores = run.entry.get(section) or {}
    for name, sign in (("aurc", 1), ("auroc", -1)):
        value = scores.get(f"{rest}/{name}")
        if isinstance(value, int | float):
            return sign * value
    return 0.0


def _line(run: ReportedRun, row: str, kind: Kind, n: int, several: bool) -> Line:
    """The n-th line of a run; runs differ in colour, and lines of one run in style."""
    section, end, pair = kind
    name = row.removeprefix(f"{section}/").removesuffix(f"/{end}" if end else "")
    name = printable(name.replace("/", ", ").replace("_", " "))
    x, y = (thin(run.scored.curves[f"{row}/{part}"].tolist()) for part in pair)
    if several:
        return Line(f"{run.name}: {name}", x, y, run.number, _STYLES[n % len(_STYLES)])
    return Line(name, x, y, n)


def _titled(section: str, kind: str, pair: tuple[str, str]) -> str:
    what = {
        "coverage": "Risk and coverage",
        "fpr": "ROC",
        "far": "ROC",
        "recall": "Precision and recall",
    }
    about = _RIGHT.get(kind, kind.replace("_", " "))
    beside = "" if section == "uncertainty" else f" of {section.replace('_', ' ')}"
    return printable(f"{what[pair[0]]}{beside}{f', {about}' if about else ''}")


def _ends(lines: Sequence[Line]) -> str:
    parts = []
    for line in lines:
        half = min(range(len(line.x)), key=lambda n: abs(line.x[n] - 0.5))
        parts.append(
            f"{line.name}: {line.y[half]:.3g} at {line.x[half]:.2f}, {line.y[-1]:.3g} at "
            f"{line.x[-1]:.2f}"
        )
    return "; ".join(parts)
