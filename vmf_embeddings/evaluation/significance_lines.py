"""The intervals of scores as lines of text."""

import math
from collections.abc import Callable

from vmf_embeddings.evaluation.replications import Group
from vmf_embeddings.evaluation.row_scores import UNITS
from vmf_embeddings.evaluation.significance import FEW_CLASSES, default_unit, mean_interval
from vmf_embeddings.metrics.t_tests import t_interval

ScoreText = Callable[[str, str], tuple[str, float, int]]
"""Section and name of a score -> its words, factor, digits after the point."""
MOST_RUNS_SHOWN = 3  # of which an interval over seeds says little


def interval_lines(group: Group, score_text: ScoreText) -> list[str]:
    """A table of the 95 % intervals of all scores that every file of the group has them for."""
    first = group.scores[0].intervals
    common = [name for name in first if all(name in one.intervals for one in group.scores)]
    own = default_unit(group.files[0])
    names = [name for name in common if first[name][own].listed]
    if not names:
        return []
    rest = len(common) - len(names)
    units = sorted(UNITS, key=lambda unit: unit != own)
    several = len(group.files) > 1
    head = ["score", "mean" if several else "value", *(f"other {unit}" for unit in units)]
    if several:
        head.append("other seeds")
    if 1 < len(group.files) <= MOST_RUNS_SHOWN:
        head.append("runs")
    keys = [f"{section}/{name}" for section, own in group.sections().items() for name in own]
    cells = [head, *(_cells(group, key, units, score_text) for key in keys if key in names)]
    interval = next(iter(first.values()))[own]
    return [
        "",
        f"  95 % intervals, from {len(interval.draws):,} draws of rows and of classes; over "
        f"{own} is the one for this {'kind of set' if own == 'classes' else 'closed set'}",
        *aligned(cells),
        *([f"    (those of {rest:,} further scores are in metrics.json)"] if rest else []),
        *_note_on_few(group),
    ]


def _note_on_few(group: Group) -> list[str]:
    n_classes = len(set(group.files[0].file.ids.tolist()))
    if n_classes >= FEW_CLASSES:
        return []
    return [f"    (there are {n_classes} classes: intervals over so few are too narrow)"]


def _cells(group: Group, key: str, units: list[str], score_text: ScoreText) -> list[str]:
    section, _, name = key.partition("/")
    label, scale, digits = score_text(section, name)
    if section == "sampled_retrieval":
        label += " over draws"
    values = [one.sections[section][name] for one in group.scores]
    mean = t_interval(values)
    drawn = [mean_interval([one.intervals[key] for one in group.scores], unit) for unit in units]
    cells = [label, number(mean.mean, scale, digits), *(span(e, scale, digits) for e in drawn)]
    if len(values) > 1:
        ends = [min(max(end, 0.0), 1.0) if scale == 100 else end for end in (mean.low, mean.high)]
        cells.append(span((ends[0], ends[1]), scale, digits))
    if 1 < len(values) <= MOST_RUNS_SHOWN:
        cells.append(" ".join(number(value, scale, digits) for value in values))
    return cells


def number(value: float, scale: float, digits: int) -> str:
    """A score as it is printed; "-" where there is none."""
    return "-" if math.isnan(value) else f"{scale * value:z.{digits}f}"


def span(ends: tuple[float, float], scale: float, digits: int, sign: str = "") -> str:
    """Both ends of an interval; "-" where there is none.

    >>> span((0.669, 0.753), 100, 1), span((-0.003, 0.039), 100, 1, "+")
    ('66.9 to 75.3', '-0.3 to +3.9')
    """
    if any(map(math.isnan, ends)):
        return "-"
    return " to ".join(f"{scale * end:{sign}z.{digits}f}" for end in ends)


def aligned(lines: list[list[str]]) -> list[str]:
    """Cells in columns of equal width, the first to the left; all lines have as many cells."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "    " + "  ".join([line[0].ljust(widths[0]),
                           *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]  # fmt: skip
