"""A comparison of two recipes as lines of text, and as a table of numbers."""

import csv
import io
import math
from collections.abc import Sequence

from vmf_embeddings.evaluation.comparison import ClassDifference, ComparedScore, Comparison, Side
from vmf_embeddings.evaluation.paired import rows_are_assumed
from vmf_embeddings.evaluation.paired_lines import (
    ASSUMED,
    notes_on,
    p_text,
    verdict_lines,
    words,
)
from vmf_embeddings.evaluation.significance_lines import ScoreText, aligned, number, span
from vmf_embeddings.untrusted.text import csv_cell, printable

_MOST_SETTINGS = 20
_LONGEST_VALUE = 60
_FEW_RUNS = 3


def side_lines(sides: Sequence[Side]) -> list[str]:
    """Which recipes are compared, a line each."""
    file = sides[0].file.file
    n_classes = len(set(file.ids.tolist()))
    lines = [
        f"{sides[0].file.dataset} ({sides[0].file.split}): {len(file.ids):,} rows of "
        f"{n_classes:,} classes"
    ]
    for side in sides:
        n_runs = len(side.group.files)
        lines.append(f"  {side.letter}  {side.name}: {n_runs} run{'s' * (n_runs > 1)}")
    if rows_are_assumed([one for side in sides for one in side.group.files]):
        lines.append(f"  ({ASSUMED})")
    return lines


def comparison_lines(
    comparison: Comparison, score_text: ScoreText, n_classes: int = 5
) -> list[str]:
    """The table of differences, what follows from it, classes, and what differs.

    Args:
        comparison: of two recipes.
        score_text: words of scores.
        n_classes: how many classes that gained, and that lost, are named.
    """
    a, b = comparison.a, comparison.b
    n_runs = len(a.group.files), len(b.group.files)
    means = ", means over runs" if max(n_runs) > 1 else ""
    return [
        "",
        f"{b.letter} against {a.letter}, row by row{means} ({comparison.n_draws:,} draws)",
        *_table(comparison, score_text),
        *(f"  {line}" for line in _verdict(comparison, score_text)),
        *(f"  {line}" for line in _about_seeds(comparison)),
        *_class_lines(comparison, score_text, n_classes),
        *_setting_lines(comparison),
    ]


def _table(comparison: Comparison, score_text: ScoreText) -> list[str]:
    a, b = comparison.a.letter, comparison.b.letter
    unit = comparison.scores[0].paired.unit
    with_seeds = any(not math.isnan(one.p_seeds) for one in comparison.scores)
    head = ["score", a, b, f"{b} - {a}", f"other {unit}", "rows better, worse", "p"]
    head += ["other seeds", "p"] if with_seeds else []
    rows = [_line(one, score_text, with_seeds) for one in comparison.scores]
    return aligned([[*head, "verdict"], *rows])


def _line(one: ComparedScore, score_text: ScoreText, with_seeds: bool) -> list[str]:
    paired = one.paired
    label, scale, digits = words(paired.key, score_text)
    counts = "-" if paired.signs is None else "{:,}, {:,}".format(*paired.n_better_worse)
    change = "-" if math.isnan(paired.difference) else f"{scale * paired.difference:+z.{digits}f}"
    cells = [
        label + (" %" if scale == 100 else ""), number(paired.a, scale, digits),
        number(paired.b, scale, digits), change,
        span(paired.ends[paired.unit], scale, digits, "+"), counts, p_text(paired.p_holm),
    ]  # fmt: skip
    if with_seeds:
        ends = one.seeds.low, one.seeds.high
        cells += [span(ends, scale, digits, "+"), p_text(one.p_seeds)]
    return [*cells, one.verdict]


def _verdict(comparison: Comparison, score_text: ScoreText) -> list[str]:
    own = [(one.paired, one.verdict) for one in comparison.scores]
    return [
        *verdict_lines(own, score_text, comparison.chosen),
        *notes_on([one.paired for one in comparison.scores]),
    ]


def _about_seeds(comparison: Comparison) -> list[str]:
    n_runs = [len(side.group.files) for side in (comparison.a, comparison.b)]
    if min(n_runs) < 2:
        single = [s.letter for s in (comparison.a, comparison.b) if len(s.group.files) == 1]
        one = "is one run" if len(single) == 1 else "are one run each"
        return [f"{' and '.join(single)} {one}: what other seeds would change is not known."]
    test = "paired t" if comparison.paired_seeds else "Welch's t"
    sentences = [f"Over seeds: {test}, {n_runs[0]} and {n_runs[1]} runs."]
    if min(n_runs) <= _FEW_RUNS and comparison.task is not None:
        task = next(one for one in comparison.scores if one.paired.key == comparison.task)
        runs = [" ".join(f"{100 * value:.2f}" for value in values) for values in (task.a, task.b)]
        name = comparison.task.rpartition("/")[2]
        sentences.append(
            f"The runs' {name}: {comparison.a.letter} {runs[0]}; {comparison.b.letter} {runs[1]}."
        )
    return sentences


def _class_lines(comparison: Comparison, score_text: ScoreText, n_classes: int) -> list[str]:
    gained = [one for one in comparison.classes if one.difference > 0][:n_classes]
    lost = [one for one in comparison.classes[::-1] if one.difference < 0][:n_classes]
    if comparison.task is None or not n_classes or not (gained or lost):
        return []
    label = words(comparison.task, score_text)[0]
    lines = [f"  Classes by {label}, of {len(comparison.classes):,}:"]
    for word, found in (("gained", gained), ("lost", lost)):
        if found:
            lines.append(f"    {word} most: {', '.join(map(_class, found))}")
    return lines


def _class(one: ClassDifference) -> str:
    return f"{printable(one.name)} {100 * one.difference:+.1f} ({one.n_rows} rows)"


def _setting_lines(comparison: Comparison) -> list[str]:
    if not comparison.settings:
        return ["  Nothing differs in what is recorded of both but the seed."]
    a, b = comparison.a.letter, comparison.b.letter
    shown = list(comparison.settings.items())[:_MOST_SETTINGS]
    rest = len(comparison.settings) - len(shown)
    return [
        f"  What differs, {a} -> {b}:",
        *(f"    {key}: {_short(x)} -> {_short(y)}" for key, (x, y) in shown),
        *([f"    and {rest} more (--json has them)"] if rest else []),
    ]


def _short(value: str) -> str:
    text = printable(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def comparison_csv(comparisons: Sequence[Comparison]) -> str:
    """The scores of all comparisons as CSV, one line for each, fractions as they are."""
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(
        ["a", "b", "score", "a_score", "b_score", "difference", "unit", "n", "se", "low", "high",
         "rows_better", "rows_worse", "sign_test_p", "p", "p_holm", "a_runs", "b_runs",
         "seeds_low", "seeds_high", "seeds_p", "seeds_p_holm", "verdict"]
    )  # fmt: skip
    for comparison in comparisons:
        for one in comparison.scores:
            p = one.paired
            counts = (
                ["", "", ""] if p.signs is None
                else [*p.n_better_worse, _text(p.signs.p)]
            )  # fmt: skip
            numbers = [p.a, p.b, p.difference]
            ends = [p.errors[p.unit], *p.ends[p.unit]]
            seeds = [one.seeds.low, one.seeds.high, one.seeds.p, one.p_seeds]
            cells = [
                comparison.a.name, comparison.b.name, p.key, *map(_text, numbers), p.unit,
                p.n_units, *map(_text, ends), *counts, _text(p.p), _text(p.p_holm), len(one.a),
                len(one.b), *map(_text, seeds), one.verdict,
            ]  # fmt: skip
            table.writerow([csv_cell(cell) for cell in cells])
    return stream.getvalue()


def _text(value: float) -> str:
    return f"{value:.9g}" if math.isfinite(value) else ""
